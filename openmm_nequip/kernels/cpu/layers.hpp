// Atoms through one layer, forward and backward; the formulas are those of network.hpp.
//
// A convolution is made for a span of atoms in one go, maps and gates for tiles of it, whose rows stay in the cache. Forward, a
// layer goes from its convolution to the features of the next one; the last layer goes on through the readout and back to the
// gradient of its convolution's result. Backward, gradients go from the result of a layer's convolution to that of the layer
// before it.
//
// | symbol      | meaning                                                                                          |
// | `k`         | index of the layer                                                                               |
// | `start`     | first atom of the span or tile; its rows are those from `start` on                               |
// | x, A, y, z' | as in network.hpp; `sums` is A, `gate_inputs` y, `outputs` z'                                     |
// | `places`    | where each vector of an interleaved row of A stands in one that maps read (convolution_layout.py) |
// | SPAN_ATOMS, TILE_ATOMS | atoms of a span and of a tile (model.inc)                                             |
#pragma once
#include "readout.hpp"

namespace {

// From g(z') to g(y), which takes the place of y, and to g(A).
void gate_and_sums_backward(Step& step, int k, const Tile& tile, int start, const Scratch& scratch) {
  const Layer& layer = NETWORK[k];
  real* gate_inputs = step.gate_inputs[k] + (long)start * layer.gate_width;
  for (int a = 0; a < tile.n_atoms; a++)
    gate_backward(layer.gate, layer.n_gate, gate_inputs + a * layer.gate_width,
                  scratch.outputs_gradient + a * layer.outputs_width, scratch.gate_gradient + a * layer.gate_width);
  std::memcpy(gate_inputs, scratch.gate_gradient, (size_t)tile.n_atoms * layer.gate_width * sizeof(real));
  clear(scratch.sums, (long)tile.n_atoms * layer.sums_width);
  apply_maps(layer.second, layer.n_second, BACKWARD, step.weights, tile, scratch.gate_gradient, layer.gate_width, scratch.sums,
             layer.sums_width);
  const real* from = scratch.sums;
  real* to = step.sums_gradient[k % 2] + (long)start * layer.sums_width;
  for (int a = 0; a < tile.n_atoms; a++, from += layer.sums_width, to += layer.sums_width)
    for (int i = 0; i < layer.sums_width / LANES; i++) store(to + i * LANES, load(from + layer.places[i]));
}

// From A of a tile, interleaved, to the features of the next layer.
void forward_tile(Step& step, int k, int start, int stop, const Scratch& scratch, const real* span_sums, double* energies) {
  const Layer& layer = NETWORK[k];
  const Tile tile(step.types, start, stop);
  real* sums = scratch.sums;
  for (int a = 0; a < tile.n_atoms; a++, sums += layer.sums_width, span_sums += layer.sums_width)
    for (int i = 0; i < layer.sums_width / LANES; i++) store(sums + layer.places[i], load(span_sums + i * LANES));
  real* gate_inputs = step.gate_inputs[k] + (long)start * layer.gate_width;
  if (k == 0)
    for (int a = 0; a < tile.n_atoms; a++)
      std::memcpy(gate_inputs + a * layer.gate_width,
                  step.weights + FIRST_CONNECTION + (long)step.types[start + a] * layer.gate_width,
                  layer.gate_width * sizeof(real));
  apply_maps(layer.second, layer.n_second, FORWARD, step.weights, tile, scratch.sums, layer.sums_width, gate_inputs,
             layer.gate_width);
  for (int a = 0; a < tile.n_atoms; a++)
    gate_forward(layer.gate, layer.n_gate, gate_inputs + a * layer.gate_width, scratch.outputs + a * layer.outputs_width);
  if (k + 1 < N_LAYERS) {
    const Layer& next = NETWORK[k + 1];
    real* next_features = step.features[k + 1] + (long)start * next.features_width;
    real* next_gate_inputs = step.gate_inputs[k + 1] + (long)start * next.gate_width;
    clear(next_features, (long)tile.n_atoms * next.features_width);
    clear(next_gate_inputs, (long)tile.n_atoms * next.gate_width);
    apply_maps(next.first, next.n_first, FORWARD, step.weights, tile, scratch.outputs, next.features_width, next_features,
               next.features_width);
    apply_maps(next.connection, next.n_connection, FORWARD, step.weights, tile, scratch.outputs, next.features_width,
               next_gate_inputs, next.gate_width);
  } else {
    readout(step, tile, start, scratch.outputs, scratch.outputs_gradient, scratch.readout, energies);
    gate_and_sums_backward(step, k, tile, start, scratch);
  }
}

// From g(x) of a tile to g(A) of the layer before.
void backward_tile(Step& step, int k, int start, int stop, const Scratch& scratch, const real* features_gradient) {
  const Layer& layer = NETWORK[k];
  const Tile tile(step.types, start, stop);
  clear(scratch.outputs_gradient, (long)tile.n_atoms * layer.features_width);
  apply_maps(layer.first, layer.n_first, BACKWARD, step.weights, tile, features_gradient, layer.features_width,
             scratch.outputs_gradient, layer.features_width);
  apply_maps(layer.connection, layer.n_connection, BACKWARD, step.weights, tile,
             step.gate_inputs[k] + (long)start * layer.gate_width, layer.gate_width, scratch.outputs_gradient,
             layer.features_width);
  gate_and_sums_backward(step, k - 1, tile, start, scratch);
}

const real* convolution_features(const Step& step, int k) {
  return k ? (const real*)step.features[k] : step.weights + FIRST_FEATURES;
}

void forward_span(Step& step, int k, int start, int stop, const Scratch& scratch, double* energies) {
  const Layer& layer = NETWORK[k];
  layer.convolution(step.by_centre, step.weights, convolution_features(step, k), start, stop, scratch.span_sums, scratch.room);
  for (int a = start; a < stop; a += TILE_ATOMS)
    forward_tile(step, k, a, a + TILE_ATOMS < stop ? a + TILE_ATOMS : stop, scratch,
                 scratch.span_sums + (long)(a - start) * layer.sums_width, energies);
}

void backward_span(Step& step, int k, int start, int stop, const Scratch& scratch) {
  const Layer& layer = NETWORK[k];
  layer.convolution_backward(*step.incoming, step.weights, step.sums_gradient[k % 2], convolution_features(step, k), step.types,
                             start, stop, scratch.span_gradient, scratch.room);
  if (k == 0) return;
  for (int a = start; a < stop; a += TILE_ATOMS)
    backward_tile(step, k, a, a + TILE_ATOMS < stop ? a + TILE_ATOMS : stop, scratch,
                  scratch.span_gradient + (long)(a - start) * layer.features_width);
}

}  // namespace
