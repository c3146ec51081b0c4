// The nonlinearity of a layer: scalars go through an activation, blocks of higher order are multiplied with activated gates.
//
// Forward, f being the activation with its factor:
//     scalars        z[c]    = f(y[c])
//     gated blocks   z[m, c] = f(s[c]) y[m, c]           with the scalar s[c] that gates channel c
// Backward, with g = dE/dz:
//     scalars        dE/dy[c]    = f'(y[c]) g[c]
//     gated blocks   dE/dy[m, c] = f(s[c]) g[m, c]       dE/ds[c] = f'(s[c]) sum over m of y[m, c] g[m, c]
//
// Memory: y is a row with all scalars, gates and gated blocks (as the linear maps leave it), z a row of scalars and gated
// blocks; both as in linear_maps.hpp.
#pragma once
#include "activations.hpp"

namespace {

// One block of z.
struct GateBlock {
  int input, output;         // place of the block in y and in z
  int channels, components;  // padded channels, 2 l + 1
  int gate;                  // place of its gates in y; -1 for scalars
  int kind;                  // activation
  real factor;               // of the activation
};

static void gate_forward(const GateBlock* blocks, int n_blocks, const real* y, real* z) {
  for (int i = 0; i < n_blocks; i++) {
    const GateBlock& block = blocks[i];
    for (int c = 0; c < block.channels; c += LANES) {
      vec value, slope;
      activate(block.kind, load(y + (block.gate < 0 ? block.input : block.gate) + c), value, slope);
      value *= block.factor;
      if (block.gate < 0) store(z + block.output + c, value);
      else
        for (int m = 0; m < block.components; m++)
          store(z + block.output + m * block.channels + c, load(y + block.input + m * block.channels + c) * value);
    }
  }
}

// y_gradient = dE/dy from z_gradient = dE/dz; y_gradient may not be y.
static void gate_backward(const GateBlock* blocks, int n_blocks, const real* y, const real* z_gradient, real* y_gradient) {
  for (int i = 0; i < n_blocks; i++) {
    const GateBlock& block = blocks[i];
    for (int c = 0; c < block.channels; c += LANES) {
      vec value, slope;
      activate(block.kind, load(y + (block.gate < 0 ? block.input : block.gate) + c), value, slope);
      value *= block.factor;
      slope *= block.factor;
      if (block.gate < 0) store(y_gradient + block.input + c, slope * load(z_gradient + block.output + c));
      else {
        vec sum = vec{};
        for (int m = 0; m < block.components; m++) {
          vec g = load(z_gradient + block.output + m * block.channels + c);
          sum += g * load(y + block.input + m * block.channels + c);
          store(y_gradient + block.input + m * block.channels + c, g * value);
        }
        store(y_gradient + block.gate + c, sum * slope);
      }
    }
  }
}

}  // namespace
