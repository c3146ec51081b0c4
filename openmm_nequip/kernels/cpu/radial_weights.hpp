// Radial weights of the tensor products, from tables or from the network itself, and their derivative.
//
// A weight R(x) of every path and channel, x = r / cutoff, is the output of an MLP of the radial basis:
//     h_0 = basis(x)       h_{k+1} = f(h_k W_k)          R = h_n W_n
//     h_0' = basis'(x)     h_{k+1}' = f'(h_k W_k) (h_k' W_k)          R' = h_n' W_n
// The derivative goes forward with the value, because x is its only variable.
//
// With tables R is a polynomial of the fraction of the interval between two knots, see table_values.hpp.
//
// Memory: without tables the weights of a block of edges are (LANES edges, channels).
//
// | symbol        | meaning                                                                                         |
// | `Network`     | in model.inc, for each layer: LAYERS, WIDTHS of h_0 .. R (padded), MATRICES among the weights, and |
// |               | WIDEST, the widest hidden layer                                                                 |
// | `radial_network` | R, and R' unless `slopes` is null, for n edges from `at` on                                  |
#pragma once
#include "activations.hpp"
#include "edges.hpp"
#include "products.hpp"
#include "table_values.hpp"

namespace {

#if !TABULATED

// Rows of inputs of one layer: n edges, then, for the derivative, the same n edges again.
struct RadialRows {
  const real* inputs[2 * LANES];
  real* outputs[2 * LANES];
};

template <class Network> struct RadialScratch {
  alignas(ALIGNMENT) real values[2][LANES][Network::WIDEST], slopes[2][LANES][Network::WIDEST];
};

// Layer LAYER and all after it.
template <class Network, int LAYER>
INLINE void radial_layers(RadialRows& rows, RadialScratch<Network>& scratch, const real* __restrict__ weights, int n,
                          real (*last_values)[Network::WIDTHS[Network::LAYERS]],
                          real (*last_slopes)[Network::WIDTHS[Network::LAYERS]]) {
  constexpr bool last = LAYER + 1 == Network::LAYERS;
  constexpr int width = Network::WIDTHS[LAYER + 1];
  for (int e = 0; e < n; e++) {
    if constexpr (last) rows.outputs[e] = last_values[e];
    else rows.outputs[e] = scratch.values[LAYER % 2][e];
    clear(rows.outputs[e], width);
    if (last_slopes) {
      if constexpr (last) rows.outputs[n + e] = last_slopes[e];
      else rows.outputs[n + e] = scratch.slopes[LAYER % 2][e];
      clear(rows.outputs[n + e], width);
    }
  }
  multiply(last_slopes ? 2 * n : n, Network::WIDTHS[LAYER], width, rows.inputs, weights + Network::MATRICES[LAYER], rows.outputs);
  if constexpr (!last) {
    auto& values = scratch.values[LAYER % 2];
    auto& slopes = scratch.slopes[LAYER % 2];
    for (int e = 0; e < n; e++)
      for (int c = 0; c < width; c += LANES) {
        vec value, slope;
        activate(Network::ACTIVATION, load(values[e] + c), value, slope);
        store(values[e] + c, value);
        if (last_slopes) store(slopes[e] + c, load(slopes[e] + c) * slope);
      }
    for (int e = 0; e < n; e++) {
      rows.inputs[e] = values[e];
      rows.inputs[n + e] = slopes[e];
    }
    radial_layers<Network, LAYER + 1>(rows, scratch, weights, n, last_values, last_slopes);
  }
}

template <class Network>
static void radial_network(const Edges& edges, const real* __restrict__ weights, int at, int n,
                           real (*values)[Network::WIDTHS[Network::LAYERS]],
                           real (*slopes)[Network::WIDTHS[Network::LAYERS]]) {
  RadialScratch<Network> scratch;
  RadialRows rows;
  for (int e = 0; e < n; e++) {
    rows.inputs[e] = edges.basis + (long)(at + e) * BASIS_WIDTH;
    rows.inputs[n + e] = edges.basis_slope + (long)(at + e) * BASIS_WIDTH;
  }
  radial_layers<Network, 0>(rows, scratch, weights, n, values, slopes);
}
#endif

}  // namespace
