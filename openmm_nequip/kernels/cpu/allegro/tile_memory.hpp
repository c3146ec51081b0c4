// Memory of one thread for a tile of an Allegro model: the edges of a few atoms, with everything that belongs to them.
//
// The formulas are those of edgewise_step.hpp. A tile has `rows` edges at most, and TILE_ATOMS atoms.
//
// Memory: `row` of an edge is ROW_WIDTH numbers behind one another,
//     [w of T_{-1}: N_ORDERS x CHANNELS][w_0 of A_0: N_ORDERS x CHANNELS][inputs z_0 of network 0][z_1] ... [z of the readout]
// each part padded to whole vectors; `row_slope` is its derivative with respect to the argument of the two-body functions. In the
// backward pass the gradients of z take the place of z. Harmonics lie component by component, `rows` numbers each.
//
// | symbol                | meaning                                                                                        |
// | `harmonic`            | Y of every edge; `harmonic_gradient` dE/dY from order 1 on, vectors whose lanes are still to be summed |
// | `value[k][d]`, `slope[k][d]` | what activation d of network k gives for every edge, and its derivative                  |
// | `along`               | dE/d(argument of the two-body functions) of every edge, a vector whose lanes are still to be summed |
// | `scalar[k]`           | s_k of every edge, in the backward pass its gradient                                           |
// | `sums[k]`, `sums_gradient[k]` | A_k of every atom: N_HARMONICS x CHANNELS                                               |
// | `hidden_sums[k]`      | B_k: the same of the last hidden layer of network k, from which A_{k+1} is made                |
// | `vector[k][q]`        | v of layer k before product q, of every atom: MOST_COMPONENTS x CHANNELS                       |
// | `first`, `second`     | two buffers of rows, WIDEST numbers each                                                       |
// | `owner`               | the atom of every edge                                                                         |
#pragma once
#include "memory.hpp"
#include "step_state.hpp"

namespace {

struct TileMemory {
  int rows = 0;
  real *row, *row_slope, *along, *harmonic, *harmonic_gradient;
  real *value[N_LAYERS + 1][MOST_HIDDEN], *slope[N_LAYERS + 1][MOST_HIDDEN], *scalar[N_LAYERS];
  real *sums[N_LAYERS], *sums_gradient[N_LAYERS], *hidden_sums[N_LAYERS], *hidden_sums_gradient[N_LAYERS];
  real *vector[N_LAYERS][N_LAYERS], *vector_gradient, *other_gradient;
  real *first, *second;
  Array<int> owner;

  // Room for so many edges in a tile, and some more.
  void make_room(int edges) {
    const int wanted = (edges + 2 * LANES - 1) / LANES * LANES;
    if (wanted <= rows) return;
    place(nullptr, wanted);
    storage.make_room(taken);
    place(storage, wanted);
    owner.make_room(wanted);
    rows = wanted;
  }

 private:
  Array<real> storage;
  long taken = 0;

  void take(real*& part, real* from, long count) {
    part = from + taken;
    taken += (count + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

  void place(real* from, long edges) {
    taken = 0;
    const long atoms = TILE_ATOMS;
    for (real** part : {&row, &row_slope}) take(*part, from, edges * ROW_WIDTH);
    take(along, from, edges * LANES);
    take(harmonic, from, edges * N_HARMONICS);
    take(harmonic_gradient, from, edges * (N_HARMONICS - 1) * LANES);
    for (int k = 0; k <= N_LAYERS; k++)
      for (int d = 0; d < NETWORKS[k].n_hidden; d++) {
        take(value[k][d], from, edges * NETWORKS[k].widths[d]);
        take(slope[k][d], from, edges * NETWORKS[k].widths[d]);
      }
    for (int k = 0; k < N_LAYERS; k++) {
      take(scalar[k], from, edges * CHANNELS);
      take(sums[k], from, atoms * N_HARMONICS * CHANNELS);
      take(sums_gradient[k], from, atoms * N_HARMONICS * CHANNELS);
      take(hidden_sums[k], from, atoms * N_HARMONICS * last_width(k));
      take(hidden_sums_gradient[k], from, atoms * N_HARMONICS * last_width(k));
      for (int q = 0; q <= k; q++) take(vector[k][q], from, atoms * MOST_COMPONENTS * CHANNELS);
    }
    take(vector_gradient, from, MOST_COMPONENTS * CHANNELS);
    take(other_gradient, from, MOST_COMPONENTS * CHANNELS);
    take(first, from, edges * WIDEST);
    take(second, from, edges * WIDEST);
  }
};

}  // namespace
