// Memory of one thread for a tile of a model that mixes channels: the edges of a few atoms, with their tensors.
//
// The formulas are those of mixing_step.hpp; what is not here is in edge_memory.hpp.
//
// Memory: the row of an edge is
//     [u, with an ENVELOPE; or u_1, u_2, ...][w of T_0: N_FIRST x CHANNELS][w_0][z_0][w_1][z_1] ... [w_{K-1}][z_{K-1}]
//     [z of the readout]
// with w_k, the weights of A_k, N_ORDERS x CHANNELS. With WEIGHTERS the inputs of the network that w_k comes from stand behind
// w_k, and the two-body functions have zeros in the place of w_k.
// Tensors of an edge lie block by block, component by component, channels side
// by side; raw results of a product block by block, component by component, paths into the block side by side.
//
// | symbol                | meaning                                                                                        |
// | `row_gradient`        | gradient of the energy with respect to the row of every edge                                   |
// | `tensor[k]`           | T_k of every edge                                                                              |
// | `gradient`, `other`   | dE/dT of a layer and of the one before it, of every edge                                       |
// | `raw`                 | raw results of a product, or their gradients, of CHUNK edges                                   |
// | `sums[k]`, `sums_gradient[k]` | A_k of every atom: N_HARMONICS x CHANNELS                                               |
// | `own`, `own_gradient` | A_k without an edge's own part, of one edge                                                    |
#pragma once
#include "edge_memory.hpp"

namespace {

struct TileMemory : EdgeMemory {
  real *row_gradient, *tensor[N_LAYERS], *gradient, *other, *raw;
  real *sums[N_LAYERS], *sums_gradient[N_LAYERS], *own, *own_gradient;

 protected:
  void place(real* from, long edges) override {
    EdgeMemory::place(from, edges);
    const long environment = N_HARMONICS * CHANNELS;
    take(row_gradient, from, edges * ROW_WIDTH);
    for (int k = 0; k < N_LAYERS; k++) {
      take(tensor[k], from, edges * EDGE_LAYERS[k].tensor_width);
      take(sums[k], from, TILE_ATOMS * environment);
      take(sums_gradient[k], from, TILE_ATOMS * environment);
    }
    take(gradient, from, edges * WIDEST_TENSOR);
    take(other, from, edges * WIDEST_TENSOR);
    take(raw, from, (long)CHUNK * WIDEST_RAW);
    take(own, from, environment);
    take(own_gradient, from, environment);
  }
};

}  // namespace
