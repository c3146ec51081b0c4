// Memory of one thread for a tile of an Allegro model: the edges of a few atoms, with everything that belongs to them.
//
// The formulas are those of edgewise_step.hpp; what is not here is in edge_memory.hpp.
//
// Memory: the row of an edge is
//     [w of T_{-1}: N_ORDERS x CHANNELS][w_0 of A_0: N_ORDERS x CHANNELS][inputs z_0 of network 0][z_1] ... [z of the readout]
// In the backward pass the gradients of z take the place of z.
//
// | symbol                | meaning                                                                                        |
// | `scalar[k]`           | s_k of every edge, in the backward pass its gradient                                           |
// | `sums[k]`, `sums_gradient[k]` | A_k of every atom: N_HARMONICS x CHANNELS                                               |
// | `hidden_sums[k]`      | B_k: the same of the last hidden layer of network k, from which A_{k+1} is made                |
// | `vector[k][q]`        | v of layer k before product q, of every atom: MOST_COMPONENTS x CHANNELS                       |
#pragma once
#include "edge_memory.hpp"

namespace {

struct TileMemory : EdgeMemory {
  real *scalar[N_LAYERS];
  real *sums[N_LAYERS], *sums_gradient[N_LAYERS], *hidden_sums[N_LAYERS], *hidden_sums_gradient[N_LAYERS];
  real *vector[N_LAYERS][N_LAYERS], *vector_gradient, *other_gradient;

 protected:
  void place(real* from, long edges) override {
    EdgeMemory::place(from, edges);
    const long atoms = TILE_ATOMS;
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
  }
};

}  // namespace
