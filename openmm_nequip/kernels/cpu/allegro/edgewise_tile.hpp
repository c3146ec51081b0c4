// A tile of an Allegro model, forward and backward: everything that the edges of a few atoms do to their energies and forces.
//
// The formulas are those of edgewise_step.hpp, in its order. A tile needs nothing of other tiles, so its rows stay in the cache
// from the distances to the forces.
//
// | symbol       | meaning                                                                                              |
// | `pointers`   | the rows of one atom in arrays of tile_memory.hpp, for the generated products of a layer             |
#pragma once
#include "edge_share.hpp"

namespace {

// Rows of one atom of a tile, layer by layer.
struct AtomRows {
  real *sums[N_LAYERS], *sums_gradient[N_LAYERS], *vector[N_LAYERS][N_LAYERS];

  AtomRows(const TileMemory& tile, long atom) {
    for (int k = 0; k < N_LAYERS; k++) {
      sums[k] = tile.sums[k] + atom * N_HARMONICS * CHANNELS;
      sums_gradient[k] = tile.sums_gradient[k] + atom * N_HARMONICS * CHANNELS;
      for (int q = 0; q <= k; q++) vector[k][q] = tile.vector[k][q] + atom * MOST_COMPONENTS * CHANNELS;
    }
  }
};

// Layer k: environments, products, scalars, and the latent network with what follows from it.
static void layer_forward(const Step& step, const TileMemory& tile, const EdgeTile& at, int k) {
  const EdgeNetwork& network = NETWORKS[k];
  for (int a = at.start; a < at.stop; a++) {
    const long atom = a - at.start;
    const AtomRows rows(tile, atom);
    const Star star = at.star(step.by_centre, tile, a);
    const real norm = (real)step.norms()[step.types[a]];
    if (k == 0) weighted_sums(star, tile.row + ENVIRONMENT_WEIGHTS, norm, rows.sums[0]);
    else {  // the map onto environment weights commutes with the sum over edges
      const int width = last_width(k - 1);
      real* hidden_sums = tile.hidden_sums[k - 1] + atom * N_HARMONICS * width;
      plain_sums(star, tile.value[k - 1][NETWORKS[k - 1].n_hidden - 1], width, norm, hidden_sums);
      for (int l = 0; l < N_ORDERS; l++)
        multiply_panels<false>(2 * l + 1, width, CHANNELS, hidden_sums + (long)first_of_order(l) * width, width,
                                step.weights + NETWORKS[k - 1].environment + (long)l * width * CHANNELS,
                                rows.sums[k] + (long)first_of_order(l) * CHANNELS, CHANNELS);
    }
    products_forward(k, step.weights, rows.sums, rows.vector[k]);
    scalars(star, tile.row + TENSOR_WEIGHTS, rows.vector[k][0], tile.scalar[k]);
  }
  multiply_panels<true>(at.n, CHANNELS, network.scalars.n_out, tile.scalar[k], CHANNELS, step.weights + network.scalars.matrix,
                         tile.row + network.input, ROW_WIDTH);
  network_forward<LATENT_ACTIVATION>(network, step.weights, at.n, tile.row, tile.value[k], tile.slope[k], tile.first);
  multiply_panels<true>(at.n, network.later.n_in, network.later.n_out, tile.value[k][network.n_hidden - 1],
                         network.later.n_in, step.weights + network.later.matrix, tile.row + NETWORKS[k + 1].input, ROW_WIDTH);
}

// Gradients of harmonics from the environment and the scalars of layer k.
static void harmonics_gradient(const Step& step, const TileMemory& tile, const EdgeTile& at, int k) {
  for (int a = at.start; a < at.stop; a++) {
    const long atom = a - at.start;
    const AtomRows rows(tile, atom);
    const Star star = at.star(step.by_centre, tile, a);
    const int width = k ? last_width(k - 1) : 0;
    const real* hidden = k ? tile.value[k - 1][NETWORKS[k - 1].n_hidden - 1] : nullptr;
    const real* hidden_gradient = k ? tile.hidden_sums_gradient[k - 1] + atom * N_HARMONICS * width : nullptr;
    for (int e = star.from; e < star.to; e++) {
      real* to = tile.harmonic_gradient + (long)e * (N_HARMONICS - 1) * LANES;
      HarmonicGradient gradient;
      for (int m = 0; m < N_HARMONICS - 1; m++) gradient.sum[m] = k + 1 < N_LAYERS ? load(to + m * LANES) : vec{};
      const real* row = tile.row + (long)e * ROW_WIDTH;
      gradient.add_weighted(tile.scalar[k] + (long)e * CHANNELS, row + TENSOR_WEIGHTS, rows.vector[k][0]);
      if (k == 0) gradient.add_weights(row + ENVIRONMENT_WEIGHTS, rows.sums_gradient[0]);
      else gradient.add_plain(hidden + (long)e * width, hidden_gradient, width);
      for (int m = 0; m < N_HARMONICS - 1; m++) store(to + m * LANES, gradient.sum[m]);
    }
  }
}

static void layer_backward(const Step& step, const TileMemory& tile, const EdgeTile& at, int k) {
  const EdgeNetwork& network = NETWORKS[k];
  const int width = last_width(k);
  multiply_panels<false>(at.n, network.later.n_out, width, tile.row + NETWORKS[k + 1].input, ROW_WIDTH,
                          step.weights + network.later.transposed, tile.first, width);
  if (k + 1 < N_LAYERS)
    for (int a = at.start; a < at.stop; a++)
      plain_gradient(at.star(step.by_centre, tile, a), tile.hidden_sums_gradient[k] + (long)(a - at.start) * N_HARMONICS * width,
                     width, tile.first);
  network_backward<true>(network, step.weights, at.n, tile.slope[k], tile.first, tile.second, tile.row, tile.row_slope,
                         tile.along);
  multiply_panels<false>(at.n, network.scalars.n_out, CHANNELS, tile.row + network.input, ROW_WIDTH,
                          step.weights + network.scalars.transposed, tile.scalar[k], CHANNELS);
  for (int a = at.start; a < at.stop; a++) {
    const long atom = a - at.start;
    const AtomRows rows(tile, atom);
    const Star star = at.star(step.by_centre, tile, a);
    scalars_gradient(star, tile.row + TENSOR_WEIGHTS, tile.row_slope + TENSOR_WEIGHTS, rows.vector[k][0], tile.scalar[k],
                     tile.along, tile.vector_gradient);
    products_backward(k, step.weights, rows.sums, rows.vector[k], rows.sums_gradient, tile.vector_gradient,
                      tile.other_gradient);
    // The gradient of the sums of this layer is complete; from now on it is that of the sums without their factor.
    const real norm = (real)step.norms()[step.types[a]];
    for (int i = 0; i < N_HARMONICS * CHANNELS; i += LANES)
      store(rows.sums_gradient[k] + i, load(rows.sums_gradient[k] + i) * norm);
    if (k == 0) {
      weights_gradient(star, tile.row_slope + ENVIRONMENT_WEIGHTS, rows.sums_gradient[0], tile.along);
      continue;
    }
    const int before = last_width(k - 1);
    real* hidden_gradient = tile.hidden_sums_gradient[k - 1] + atom * N_HARMONICS * before;
    for (int l = 0; l < N_ORDERS; l++)
      multiply_panels<false>(2 * l + 1, CHANNELS, before, rows.sums_gradient[k] + (long)first_of_order(l) * CHANNELS, CHANNELS,
                              step.weights + NETWORKS[k - 1].environment_transposed + (long)l * CHANNELS * before,
                              hidden_gradient + (long)first_of_order(l) * before, before);
  }
  harmonics_gradient(step, tile, at, k);
}

static void evaluate_tile(Step& step, const TileMemory& tile, const EdgeTile& at, const Share& share) {
  if (!begin_tile(step, tile, at)) return;
  for (int k = 0; k < N_LAYERS; k++) layer_forward(step, tile, at, k);
  readout_both<true>(step, tile, at, tile.row);
  for (int k = 0; k < N_LAYERS; k++) clear(tile.sums_gradient[k], (long)(at.stop - at.start) * N_HARMONICS * CHANNELS);
  for (int k = N_LAYERS - 1; k >= 0; k--) layer_backward(step, tile, at, k);
  tile_forces(step, tile, at, share);
  for (int a = at.start; a < at.stop; a++) add_repulsion(step, a, step.energies[a]);
}

}  // namespace
