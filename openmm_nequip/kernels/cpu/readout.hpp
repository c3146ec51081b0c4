// Energies of atoms from their last features, and the gradient of the total energy with respect to those.
//
// Forward:   a_0 = z W_0        a_{k+1} = f(a_k) W_{k+1}        E = scale[type] a_n + shift[type]
// Backward:  g(a_n) = scale[type]        g(a_k) = f'(a_k) (g(a_{k+1}) W_{k+1}^T)        g(z) = g(a_0) W_0^T
//
// f is the activation with its factor. The model's energy is the sum over atoms, so each atom's gradient starts alone.
//
// Memory: for every layer the values a_k and, behind them, their gradients, rows for the atoms of a tile; until the backward
// pass f(a_k) stands in the place of the gradients.
//
// | symbol                                 | meaning                                                       |
// | READOUT, N_READOUT                     | matrices of the network and their number (model.inc)          |
// | READOUT_ACTIVATION, READOUT_FACTOR     | f (model.inc)                                                 |
#pragma once
#include "layer_state.hpp"

namespace {

// `outputs` are the rows of z, `outputs_gradient` becomes g(z).
void readout(const Step& step, const Tile& tile, int start, const real* outputs, real* outputs_gradient, real* room,
             double* energies) {
  real *values[N_READOUT + 1], *gradients[N_READOUT + 1];
  const real* from[MOST_TILE_ATOMS];
  real* to[MOST_TILE_ATOMS];
  long at = 0;
  for (int k = 0; k < N_READOUT; k++) {
    const int n_in = READOUT[k].n_in, n_out = READOUT[k].n_out;
    values[k] = room + at;
    gradients[k] = values[k] + MOST_TILE_ATOMS * n_out;
    at += 2 * MOST_TILE_ATOMS * n_out;
    clear(values[k], tile.n_atoms * n_out);
    for (int a = 0; a < tile.n_atoms; a++) {
      from[a] = k ? gradients[k - 1] + a * n_in : outputs + a * n_in;
      to[a] = values[k] + a * n_out;
    }
    multiply(tile.n_atoms, n_in, n_out, from, step.weights + READOUT[k].matrix, to);
    if (k + 1 < N_READOUT)
      for (int i = 0; i < tile.n_atoms * n_out; i += LANES) {
        vec value, slope;
        activate(READOUT_ACTIVATION, load(values[k] + i), value, slope);
        store(gradients[k] + i, value * (real)READOUT_FACTOR);
      }
  }
  const int last = N_READOUT - 1, width = READOUT[last].n_out;
  clear(gradients[last], tile.n_atoms * width);
  for (int a = 0; a < tile.n_atoms; a++) {
    const int type = step.types[start + a];
    energies[start + a] = step.scales()[type] * values[last][a * width] + step.shifts()[type];
    gradients[last][a * width] = (real)step.scales()[type];
  }
  for (int k = last; k >= 0; k--) {
    const int n_in = READOUT[k].n_in, n_out = READOUT[k].n_out;
    real* target = k ? gradients[k - 1] : outputs_gradient;
    clear(target, tile.n_atoms * n_in);
    for (int a = 0; a < tile.n_atoms; a++) {
      from[a] = gradients[k] + a * n_out;
      to[a] = target + a * n_in;
    }
    multiply(tile.n_atoms, n_out, n_in, from, step.weights + READOUT[k].transposed, to);
    if (k)
      for (int i = 0; i < tile.n_atoms * n_in; i += LANES) {
        vec value, slope;
        activate(READOUT_ACTIVATION, load(values[k - 1] + i), value, slope);
        store(target + i, load(target + i) * slope * (real)READOUT_FACTOR);
      }
  }
}

}  // namespace
