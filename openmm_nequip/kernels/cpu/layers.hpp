// One tile of atoms through one layer, forward and backward; the formulas are those of network.hpp.
//
// A forward call takes a layer from its convolution to the features of the next one, so that what a tile reads and writes stays
// in the cache; that of the last layer goes on through the readout and back to the gradient of its convolution's result. A
// backward call takes the gradients from the result of a layer's convolution to that of the layer before it.
//
// | symbol      | meaning                                                              |
// | `k`         | index of the layer                                                   |
// | `start`     | first atom of the tile; its rows are those from `start` on           |
// | x, A, y, z' | as in network.hpp; `sums` is A, `gate_inputs` y, `outputs` z'        |
#pragma once
#include "readout.hpp"

namespace {

// From g(z') to g(y), which takes the place of y, and to g(A).
void gate_and_sums_backward(Step& step, int k, const Tile& tile, int start, const real* outputs_gradient, real* gate_gradient) {
  const Layer& layer = NETWORK[k];
  real* gate_inputs = step.gate_inputs[k] + (long)start * layer.gate_width;
  real* sums_gradient = step.sums_gradient[k % 2] + (long)start * layer.sums_width;
  for (int a = 0; a < tile.n_atoms; a++)
    gate_backward(layer.gate, layer.n_gate, gate_inputs + a * layer.gate_width, outputs_gradient + a * layer.outputs_width,
                  gate_gradient + a * layer.gate_width);
  std::memcpy(gate_inputs, gate_gradient, (size_t)tile.n_atoms * layer.gate_width * sizeof(real));
  clear(sums_gradient, (long)tile.n_atoms * layer.sums_width);
  apply_maps(layer.second, layer.n_second, BACKWARD, step.weights, tile, gate_gradient, layer.gate_width, sums_gradient,
             layer.sums_width);
}

void forward_tile(Step& step, int k, int start, int stop, const TileRows& rows, double* energies) {
  const Layer& layer = NETWORK[k];
  const Tile tile(step.types, start, stop);
  const real* features = k ? (const real*)step.features[k] : step.weights + FIRST_FEATURES;
  for (int a = 0; a < tile.n_atoms; a++)
    layer.convolution(step.by_centre, step.weights, features, start + a, rows.sums + (long)a * layer.sums_width);
  real* gate_inputs = step.gate_inputs[k] + (long)start * layer.gate_width;
  if (k == 0)
    for (int a = 0; a < tile.n_atoms; a++)
      std::memcpy(gate_inputs + a * layer.gate_width,
                  step.weights + FIRST_CONNECTION + (long)step.types[start + a] * layer.gate_width,
                  layer.gate_width * sizeof(real));
  apply_maps(layer.second, layer.n_second, FORWARD, step.weights, tile, rows.sums, layer.sums_width, gate_inputs,
             layer.gate_width);
  for (int a = 0; a < tile.n_atoms; a++)
    gate_forward(layer.gate, layer.n_gate, gate_inputs + a * layer.gate_width, rows.outputs + a * layer.outputs_width);
  if (k + 1 < N_LAYERS) {
    const Layer& next = NETWORK[k + 1];
    real* next_features = step.features[k + 1] + (long)start * next.features_width;
    real* next_gate_inputs = step.gate_inputs[k + 1] + (long)start * next.gate_width;
    clear(next_features, (long)tile.n_atoms * next.features_width);
    clear(next_gate_inputs, (long)tile.n_atoms * next.gate_width);
    apply_maps(next.first, next.n_first, FORWARD, step.weights, tile, rows.outputs, next.features_width, next_features,
               next.features_width);
    apply_maps(next.connection, next.n_connection, FORWARD, step.weights, tile, rows.outputs, next.features_width,
               next_gate_inputs, next.gate_width);
  } else {
    readout(step, tile, start, rows.outputs, rows.outputs_gradient, rows.readout, energies);
    gate_and_sums_backward(step, k, tile, start, rows.outputs_gradient, rows.gate_gradient);
  }
}

void backward_tile(Step& step, int k, int start, int stop, const TileRows& rows) {
  const Layer& layer = NETWORK[k];
  const Tile tile(step.types, start, stop);
  for (int a = 0; a < tile.n_atoms; a++) {
    const real* features = k ? step.features[k] + (long)(start + a) * layer.features_width
                             : step.weights + FIRST_FEATURES + (long)step.types[start + a] * layer.features_width;
    layer.convolution_backward(*step.incoming, step.weights, step.sums_gradient[k % 2], features, start + a,
                               rows.features_gradient + a * layer.features_width);
  }
  if (k == 0) return;
  clear(rows.outputs_gradient, (long)tile.n_atoms * layer.features_width);
  apply_maps(layer.first, layer.n_first, BACKWARD, step.weights, tile, rows.features_gradient, layer.features_width,
             rows.outputs_gradient, layer.features_width);
  apply_maps(layer.connection, layer.n_connection, BACKWARD, step.weights, tile,
             step.gate_inputs[k] + (long)start * layer.gate_width, layer.gate_width, rows.outputs_gradient,
             layer.features_width);
  gate_and_sums_backward(step, k - 1, tile, start, rows.outputs_gradient, rows.gate_gradient);
}

}  // namespace
