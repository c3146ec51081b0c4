// Layers of a model that mixes channels: what becomes of the raw results of the tensor product of an edge.
//
// A product has raw results R[o, s, j, c]: block o, slot s in it, component j, channel c. Block 0 is that of the scalars.
//     s_k = R[0]                                                    inputs of network k, by `scalars` of EdgeNetwork
//     T_{k+1}[i, j, d] = sum over s and c of R[o, s, j, c] M_i[s, c, d]           block i is made of block o
// Backward, with gradients g:
//     g(R[o, s, j, c]) = sum over all i made of o, and d, of g(T_{k+1}[i, j, d]) M_i[s, c, d]      and of s_k, where o is 0
//
// A block that is one slot as it is has no M, which n_in = 0 says.
//
// Memory: see mixing_memory.hpp. `multiply_panels` takes one component of all edges of a chunk at once.
//
// | symbol       | meaning                                                                                              |
// | `Mixing`     | a block i: where it is in T_{k+1}, and the block it is made of among the raw results, and M_i          |
// | `EdgeLayer`  | a layer: widths of T_k and R of an edge, and the blocks of T_{k+1}; none behind the last layer       |
// | EDGE_LAYERS  | those of the model (model.inc)                                                                       |
// | ENVIRONMENTS | places of w_k in the row of an edge (model.inc)                                                      |
// | LATERS       | where the inputs begin to which network k adds (model.inc)                                           |
#pragma once
#include "edge_networks.hpp"

namespace {

struct Mixing {
  int components, raw, raw_step, to;  // places in numbers; `raw_step` from a component to the next among the raw results
  int adds;                           // backward: whether others gave gradients to these raw results before
  DenseLayer matrix;
};

// One component of n edges, rows apart; with ADD to what is there.
template <bool ADD>
static void copy_channels(int n, const real* from, long from_width, real* to, long to_width) {
  for (int e = 0; e < n; e++)
    for (int c = 0; c < CHANNELS; c += LANES) {
      real* place = to + e * to_width + c;
      const vec value = load(from + e * from_width + c);
      store(place, ADD ? load(place) + value : value);
    }
}

struct EdgeLayer {
  int tensor_width, raw_width, n_blocks;
  const Mixing* blocks;
};

// T_{k+1} of n edges, from raw results of layer k. `width` is that of T_{k+1}.
static void mix(const EdgeLayer& layer, const real* weights, int n, const real* raw, real* to, int width) {
  for (int o = 0; o < layer.n_blocks; o++) {
    const Mixing& block = layer.blocks[o];
    for (int j = 0; j < block.components; j++) {
      const real* from = raw + block.raw + j * block.raw_step;
      real* place = to + block.to + j * CHANNELS;
      if (block.matrix.n_in == 0) copy_channels<false>(n, from, layer.raw_width, place, width);
      else
        multiply_panels<false>(n, block.matrix.n_in, CHANNELS, from, layer.raw_width, weights + block.matrix.matrix, place,
                               width);
    }
  }
}

// Gradients of raw results: those of scalars are there already.
static void mix_backward(const EdgeLayer& layer, const real* weights, int n, const real* from, int width, real* raw) {
  for (int o = 0; o < layer.n_blocks; o++) {
    const Mixing& block = layer.blocks[o];
    for (int j = 0; j < block.components; j++) {
      const real* gradient = from + block.to + j * CHANNELS;
      real* to = raw + block.raw + j * block.raw_step;
      if (block.matrix.n_in == 0) {
        const auto copy = block.adds ? copy_channels<true> : copy_channels<false>;
        copy(n, gradient, width, to, layer.raw_width);
        continue;
      }
      const auto multiply = block.adds ? multiply_panels<true> : multiply_panels<false>;
      multiply(n, CHANNELS, block.matrix.n_in, gradient, width, weights + block.matrix.transposed, to, layer.raw_width);
    }
  }
}

}  // namespace
