// Networks of the edges of a tile: the latent network of every layer, and the readout.
//
// Network k has inputs z (in the row of an edge, where the two-body functions and all networks before it have added to them),
// activations f and matrices W, hidden layers h:
//     h_0 = f(z)         h_{d+1} = f(h_d W_d)
// From the last one follow the inputs of later networks, environment weights, or the energy. Backward, with gradients g:
//     g(h_d) = (g(h_{d+1}) f'(h_d W_d)) W_d^T          g(z) = g(h_0) f'(z)
// Factors of activations are in the matrices behind them.
//
// Memory: `values` and `slopes` of an activation are kept for the backward pass, see tile_memory.hpp.
//
// | symbol          | meaning                                                                                           |
// | `EdgeNetwork`   | its place in the row of an edge, its matrices, and what becomes of its last hidden layer          |
// | NETWORKS        | those of the layers, then the readout, then what else the family has (model.inc)                  |
// | LATENT, READOUT | kinds of activations (model.inc)                                                                  |
#pragma once
#include "activations.hpp"
#include "products.hpp"

namespace {

struct EdgeNetwork {
  int input;                  // place of z in the row of an edge
  int n_hidden;               // number of activations
  const int* widths;          // of the hidden layers, padded
  const DenseLayer* between;  // W_0, W_1, ...
  DenseLayer scalars;         // from s_k to z; not of the readout
  DenseLayer later;           // from the last hidden layer to the inputs of all later networks, which stand side by side
  long environment, environment_transposed;  // from it to weights of A_{k+1}: a matrix for each order
};

// f and f' of n rows.
template <int KIND>
static void activate_rows(int n, int width, const real* inputs, long stride, real* values, real* slopes) {
  for (int e = 0; e < n; e++)
    for (int c = 0; c < width; c += LANES) {
      vec value, slope;
      activate(KIND, load(inputs + e * stride + c), value, slope);
      store(values + (long)e * width + c, value);
      store(slopes + (long)e * width + c, slope);
    }
}

// outputs = gradients times slopes, of n rows.
static void scale_rows(int n, int width, const real* gradients, const real* slopes, real* outputs) {
  for (long i = 0; i < (long)n * width; i += LANES) store(outputs + i, load(gradients + i) * load(slopes + i));
}

// From z to the last hidden layer. `room` are rows of the widest layer.
template <int KIND>
static void network_forward(const EdgeNetwork& network, const real* weights, int n, const real* rows, real* const* values,
                            real* const* slopes, real* room) {
  activate_rows<KIND>(n, network.widths[0], rows + network.input, ROW_WIDTH, values[0], slopes[0]);
  for (int d = 0; d + 1 < network.n_hidden; d++) {
    const DenseLayer& layer = network.between[d];
    multiply_panels<false>(n, layer.n_in, layer.n_out, values[d], layer.n_in, weights + layer.matrix, room, layer.n_out);
    activate_rows<KIND>(n, layer.n_out, room, layer.n_out, values[d + 1], slopes[d + 1]);
  }
}

// From the gradient of the last hidden layer, `gradients`, which is overwritten, to that of z, which takes the place of z in the
// row of an edge. With ALONG, what it gives to dE/d(argument of the two-body functions) is added to `along`.
template <bool ALONG>
static void network_backward(const EdgeNetwork& network, const real* weights, int n, real* const* slopes, real* gradients,
                             real* room, real* rows, const real* row_slopes, real* along) {
  for (int d = network.n_hidden - 1; d > 0; d--) {
    const DenseLayer& layer = network.between[d - 1];
    scale_rows(n, layer.n_out, gradients, slopes[d], room);
    multiply_panels<false>(n, layer.n_out, layer.n_in, room, layer.n_out, weights + layer.transposed, gradients, layer.n_in);
  }
  const int width = network.widths[0];
  for (int e = 0; e < n; e++) {
    const long row = (long)e * ROW_WIDTH + network.input;
    vec sum = ALONG ? load(along + (long)e * LANES) : vec{};
    for (int c = 0; c < width; c += LANES) {
      const vec gradient = load(gradients + (long)e * width + c) * load(slopes[0] + (long)e * width + c);
      store(rows + row + c, gradient);
      if (ALONG) sum += gradient * load(row_slopes + row + c);
    }
    if (ALONG) store(along + (long)e * LANES, sum);
  }
}

}  // namespace
