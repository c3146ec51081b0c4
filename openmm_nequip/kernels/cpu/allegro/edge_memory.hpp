// Memory of one thread for the edges of a few atoms, a tile, as far as both families of edge-wise models have it.
//
// The formulas are those of edgewise_step.hpp and mixing_step.hpp. A tile has `rows` edges at most, and TILE_ATOMS atoms.
//
// Memory: `row` of an edge is ROW_WIDTH numbers behind one another: what follows of its length and types, and the inputs z
// of its networks, each part padded to whole vectors; `row_slope` is its derivative with respect to the argument of the
// two-body functions. Harmonics lie component by component, `rows` numbers each.
//
// | symbol                | meaning                                                                                        |
// | `harmonic`            | Y of every edge; `harmonic_gradient` dE/dY from order 1 on, vectors of lanes still to be summed |
// | `along`               | dE/d(argument of the two-body functions) of every edge, a vector of lanes still to be summed   |
// | `value[k][d]`, `slope[k][d]` | what activation d of network k gives for every edge, and its derivative                  |
// | `first`, `second`     | two buffers of rows, WIDEST numbers each                                                       |
// | `owner`               | the atom of every edge                                                                         |
// | `place`               | gives every part of a family's memory its place, for so many edges                             |
#pragma once
#include "memory.hpp"
#include "step_state.hpp"

namespace {

struct EdgeMemory {
  int rows = 0;
  real *row, *row_slope, *along, *harmonic, *harmonic_gradient;
  real *value[N_NETWORKS][MOST_HIDDEN], *slope[N_NETWORKS][MOST_HIDDEN];
  real *first, *second;
  Array<int> owner;

  virtual ~EdgeMemory() = default;

  // Room for so many edges in a tile, and some more.
  void make_room(int edges) {
    const int wanted = (edges + 2 * LANES - 1) / LANES * LANES;
    if (wanted <= rows) return;
    taken = 0;
    place(nullptr, wanted);
    storage.make_room(taken);
    taken = 0;
    place(storage, wanted);
    owner.make_room(wanted);
    rows = wanted;
  }

 protected:
  void take(real*& part, real* from, long count) {
    part = from + taken;
    taken += (count + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

  virtual void place(real* from, long edges) {
    for (real** part : {&row, &row_slope}) take(*part, from, edges * ROW_WIDTH);
    take(along, from, edges * LANES);
    take(harmonic, from, edges * N_HARMONICS);
    take(harmonic_gradient, from, edges * (N_HARMONICS - 1) * LANES);
    for (int k = 0; k < N_NETWORKS; k++)
      for (int d = 0; d < NETWORKS[k].n_hidden; d++) {
        take(value[k][d], from, edges * NETWORKS[k].widths[d]);
        take(slope[k][d], from, edges * NETWORKS[k].widths[d]);
      }
    take(first, from, edges * WIDEST);
    take(second, from, edges * WIDEST);
  }

 private:
  Array<real> storage;
  long taken = 0;
};

}  // namespace
