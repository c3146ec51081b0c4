// A tile of a model that mixes channels, forward and backward.
//
// The formulas are those of mixing_step.hpp, in its order. Backward, with gradients g and y = norm_k Y[e]:
//     g(h) = u g(u h)          g(u) += sum over channels of g(u h) h          h: the last hidden layer of a network, u its cutoff
//     g(T_k[e]), g(A of e) from g(R_k[e])          g(A_k) += g(A of e)
//     without the own edge:  g(w_k[e, l]) -= sum over m of g(A of e)[m] y[m]          g(Y[e, m]) -= norm_k g(A of e)[m] w_k[e, l]
//
// | symbol              | meaning                                                                                       |
// | `edge_product`      | R of one edge from T and A (model.inc)                                                        |
// | `edge_product_backward` | sets g(T), adds to g(A) (model.inc)                                                       |
#pragma once
#include "layer_envelopes.hpp"

namespace {

static real norm_of(const Step& step, int k, int atom) { return (real)step.norms()[k * N_TYPES + step.types[atom]]; }

// A_k as an edge sees it: that of its atom, or without what the edge itself gives.
static const real* environment_of(const Step& step, const TileMemory& tile, const EdgeTile& at, int k, int e) {
  const int owner = tile.owner[e];
  const real* sums = tile.sums[k] + (long)(owner - at.start) * N_HARMONICS * CHANNELS;
  if (OWN_EDGE) return sums;
  const real norm = norm_of(step, k, owner), *weights = tile.row + (long)e * ROW_WIDTH + ENVIRONMENTS[k];
  for (int l = 0; l < N_ORDERS; l++)
    for (int m = first_of_order(l); m < first_of_order(l + 1); m++) {
      const real y = norm * tile.harmonic[(long)m * tile.rows + e];
      for (int c = 0; c < CHANNELS; c += LANES)
        store(tile.own + m * CHANNELS + c, load(sums + m * CHANNELS + c) - y * load(weights + l * CHANNELS + c));
    }
  return tile.own;
}

// From the gradient of A without an edge's own part to those of A, and of the weights and harmonics of the edge.
static void own_backward(const Step& step, const TileMemory& tile, int k, int e, real* sums_gradient) {
  const real norm = norm_of(step, k, tile.owner[e]);
  const long row = (long)e * ROW_WIDTH + ENVIRONMENTS[k];
  real* harmonic_gradient = tile.harmonic_gradient + (long)e * (N_HARMONICS - 1) * LANES;
  for (int l = 0; l < N_ORDERS; l++)
    for (int m = first_of_order(l); m < first_of_order(l + 1); m++) {
      const real y = norm * tile.harmonic[(long)m * tile.rows + e];
      vec along = vec{};
      for (int c = 0; c < CHANNELS; c += LANES) {
        const vec g = load(tile.own_gradient + m * CHANNELS + c);
        real *sum = sums_gradient + m * CHANNELS + c, *weight = tile.row_gradient + row + l * CHANNELS + c;
        store(sum, load(sum) + g);
        store(weight, load(weight) - g * y);
        along += norm * g * load(tile.row + row + l * CHANNELS + c);
      }
      if (m == 0) continue;
      real* to = harmonic_gradient + (m - 1) * LANES;
      store(to, load(to) - along);
    }
}

static void first_tensors(const TileMemory& tile, const EdgeTile& at) {
  for (int e = 0; e < at.n; e++) {
    const real* weights = tile.row + (long)e * ROW_WIDTH + TENSOR_WEIGHTS;
    real* to = tile.tensor[0] + (long)e * EDGE_LAYERS[0].tensor_width;
    for (int i = 0; i < N_FIRST; i++)
      for (int m = first_of_order(FIRST_ORDERS[i]); m < first_of_order(FIRST_ORDERS[i] + 1); m++, to += CHANNELS) {
        const real y = tile.harmonic[(long)m * tile.rows + e];
        for (int c = 0; c < CHANNELS; c += LANES) store(to + c, y * load(weights + i * CHANNELS + c));
      }
  }
}

static void first_tensors_backward(const TileMemory& tile, const EdgeTile& at, const real* gradient) {
  for (int e = 0; e < at.n; e++) {
    const long row = (long)e * ROW_WIDTH + TENSOR_WEIGHTS;
    const real* from = gradient + (long)e * EDGE_LAYERS[0].tensor_width;
    real* to = tile.harmonic_gradient + (long)e * (N_HARMONICS - 1) * LANES;
    for (int i = 0; i < N_FIRST; i++) {
      const int first = first_of_order(FIRST_ORDERS[i]), components = 2 * FIRST_ORDERS[i] + 1;
      for (int c = 0; c < CHANNELS; c += LANES) {
        vec sum = vec{};
        const vec weight = load(tile.row + row + i * CHANNELS + c);
        for (int j = 0; j < components; j++) {
          const int m = first + j;
          const vec g = load(from + j * CHANNELS + c);
          sum += g * tile.harmonic[(long)m * tile.rows + e];
          if (m > 0) store(to + (m - 1) * LANES, load(to + (m - 1) * LANES) + g * weight);
        }
        store(tile.row_gradient + row + i * CHANNELS + c, sum);
      }
      from += components * CHANNELS;
    }
  }
}

// Adds to gradients of weights w_k, on which later networks act as well.
static void add_weights_gradient(const Star& star, const real* G, real* w_gradient) {
  for (int e = star.from; e < star.to; e++)
    for (int l = 0; l < N_ORDERS; l++)
      for (int c = 0; c < CHANNELS; c += LANES) {
        real* to = w_gradient + (long)e * ROW_WIDTH + l * CHANNELS + c;
        vec sum = load(to);
        for (int m = first_of_order(l); m < first_of_order(l + 1); m++) sum += load(G + m * CHANNELS + c) * star.y(m, e);
        store(to, sum);
      }
}

// dE/d(argument of the two-body functions) of every edge, from the gradient of its whole row: lanes to be summed.
static void along_rows(const TileMemory& tile, int n) {
  for (int e = 0; e < n; e++) {
    const real *gradient = tile.row_gradient + (long)e * ROW_WIDTH, *slope = tile.row_slope + (long)e * ROW_WIDTH;
    vec even = vec{}, odd = vec{};
    int c = 0;
    for (; c + LANES < ROW_WIDTH; c += 2 * LANES) {
      even += load(gradient + c) * load(slope + c);
      odd += load(gradient + c + LANES) * load(slope + c + LANES);
    }
    if (c < ROW_WIDTH) even += load(gradient + c) * load(slope + c);
    store(tile.along + (long)e * LANES, even + odd);
  }
}

#if WEIGHTERS
// Weights of the environment of layer k, and with those of the first layer those of the tensors: from a network of their own.
static const EdgeNetwork& weighter_of(int k) { return NETWORKS[N_LAYERS + 1 + k]; }
static int weights_place(int k) { return k ? ENVIRONMENTS[k] : TENSOR_WEIGHTS; }

static void weights_forward(const Step& step, const TileMemory& tile, const EdgeTile& at, int k) {
  const EdgeNetwork& network = weighter_of(k);
  const int number = N_LAYERS + 1 + k, width = last_width(number);
  network_forward<WEIGHTER_ACTIVATION>(network, step.weights, at.n, tile.row, tile.value[number], tile.slope[number], tile.first);
  multiply_panels<false>(at.n, width, network.later.n_out, tile.value[number][network.n_hidden - 1], width,
                         step.weights + network.later.matrix, tile.row + weights_place(k), ROW_WIDTH);
}

static void weights_backward(const Step& step, const TileMemory& tile, const EdgeTile& at, int k) {
  const EdgeNetwork& network = weighter_of(k);
  const int number = N_LAYERS + 1 + k, width = last_width(number);
  multiply_panels<false>(at.n, network.later.n_out, width, tile.row_gradient + weights_place(k), ROW_WIDTH,
                         step.weights + network.later.transposed, tile.first, width);
  network_backward<false>(network, step.weights, at.n, tile.slope[number], tile.first, tile.second, tile.row_gradient,
                          tile.row_slope, tile.along);
}
#endif

// Layer k: environments, products, scalars, and the latent network with what follows from it.
static void layer_forward(const Step& step, const TileMemory& tile, const EdgeTile& at, int k) {
  const EdgeNetwork& network = NETWORKS[k];
  const EdgeLayer& layer = EDGE_LAYERS[k];
#if WEIGHTERS
  if (k > 0) weights_forward(step, tile, at, k);
#endif
#if LAYER_ENVELOPES
  leave_out_far(tile, at, k, tile.row);
#endif
  for (int a = at.start; a < at.stop; a++)
    weighted_sums(at.star(step.by_centre, tile, a), tile.row + ENVIRONMENTS[k], norm_of(step, k, a),
                  tile.sums[k] + (long)(a - at.start) * N_HARMONICS * CHANNELS);
  for (int from = 0; from < at.n; from += CHUNK) {
    const int n = at.n - from < CHUNK ? at.n - from : CHUNK;
    for (int i = 0; i < n; i++)
      edge_product(k, tile.tensor[k] + (long)(from + i) * layer.tensor_width, environment_of(step, tile, at, k, from + i),
                   tile.raw + (long)i * layer.raw_width);
    multiply_panels<true>(n, network.scalars.n_in, network.scalars.n_out, tile.raw, layer.raw_width,
                          step.weights + network.scalars.matrix, tile.row + (long)from * ROW_WIDTH + network.input, ROW_WIDTH);
    if (k + 1 < N_LAYERS) {
      const int width = EDGE_LAYERS[k + 1].tensor_width;
      mix(layer, step.weights, n, tile.raw, tile.tensor[k + 1] + (long)from * width, width);
    }
  }
  network_forward<LATENT_ACTIVATION>(network, step.weights, at.n, tile.row, tile.value[k], tile.slope[k], tile.first);
  const int width = last_width(k);
  const real* hidden = tile.value[k][network.n_hidden - 1];
  if (ENVELOPE || LAYER_ENVELOPES) {
    for (int e = 0; e < at.n; e++) {
      const vec u = load(tile.row + (long)e * ROW_WIDTH + envelope_place(k));
      for (int c = 0; c < width; c += LANES)
        store(tile.first + (long)e * width + c, u * load(hidden + (long)e * width + c));
    }
    hidden = tile.first;
  }
  multiply_panels<true>(at.n, width, network.later.n_out, hidden, width, step.weights + network.later.matrix,
                        tile.row + LATERS[k], ROW_WIDTH);
}

// The same backward; `gradient` is that of T_{k+1}, `other` becomes that of T_k.
static void layer_backward(const Step& step, const TileMemory& tile, const EdgeTile& at, int k, const real* gradient,
                           real* other) {
  const EdgeNetwork& network = NETWORKS[k];
  const EdgeLayer& layer = EDGE_LAYERS[k];
  const int width = last_width(k);
  multiply_panels<false>(at.n, network.later.n_out, width, tile.row_gradient + LATERS[k], ROW_WIDTH,
                         step.weights + network.later.transposed, tile.first, width);
  if (ENVELOPE || LAYER_ENVELOPES)
    for (int e = 0; e < at.n; e++) {
      const vec u = load(tile.row + (long)e * ROW_WIDTH + envelope_place(k));
      real* to = tile.row_gradient + (long)e * ROW_WIDTH + envelope_place(k);
      vec sum = load(to);
      for (int c = 0; c < width; c += LANES) {
        const vec g = load(tile.first + (long)e * width + c);
        sum += g * load(tile.value[k][network.n_hidden - 1] + (long)e * width + c);
        store(tile.first + (long)e * width + c, u * g);
      }
      store(to, sum);
    }
  network_backward<false>(network, step.weights, at.n, tile.slope[k], tile.first, tile.second, tile.row_gradient,
                          tile.row_slope, tile.along);
  for (int from = 0; from < at.n; from += CHUNK) {
    const int n = at.n - from < CHUNK ? at.n - from : CHUNK;
    multiply_panels<false>(n, network.scalars.n_out, network.scalars.n_in,
                           tile.row_gradient + (long)from * ROW_WIDTH + network.input, ROW_WIDTH,
                           step.weights + network.scalars.transposed, tile.raw, layer.raw_width);
    if (k + 1 < N_LAYERS) {
      const int next = EDGE_LAYERS[k + 1].tensor_width;
      mix_backward(layer, step.weights, n, gradient + (long)from * next, next, tile.raw);
    }
    for (int i = 0; i < n; i++) {
      const int e = from + i;
      real* sums_gradient = tile.sums_gradient[k] + (long)(tile.owner[e] - at.start) * N_HARMONICS * CHANNELS;
      if (!OWN_EDGE) clear(tile.own_gradient, N_HARMONICS * CHANNELS);
      edge_product_backward(k, tile.tensor[k] + (long)e * layer.tensor_width, environment_of(step, tile, at, k, e),
                            tile.raw + (long)i * layer.raw_width, other + (long)e * layer.tensor_width,
                            OWN_EDGE ? sums_gradient : tile.own_gradient);
      if (!OWN_EDGE) own_backward(step, tile, k, e, sums_gradient);
    }
  }
  for (int a = at.start; a < at.stop; a++) {
    const Star star = at.star(step.by_centre, tile, a);
    const real norm = norm_of(step, k, a);
    real* G = tile.sums_gradient[k] + (long)(a - at.start) * N_HARMONICS * CHANNELS;
    for (int i = 0; i < N_HARMONICS * CHANNELS; i += LANES) store(G + i, norm * load(G + i));
    add_weights_gradient(star, G, tile.row_gradient + ENVIRONMENTS[k]);
    for (int e = star.from; e < star.to; e++) {
      real* to = tile.harmonic_gradient + (long)e * (N_HARMONICS - 1) * LANES;
      HarmonicGradient along;
      for (int m = 0; m < N_HARMONICS - 1; m++) along.sum[m] = load(to + m * LANES);
      along.add_weights(tile.row + (long)e * ROW_WIDTH + ENVIRONMENTS[k], G);
      for (int m = 0; m < N_HARMONICS - 1; m++) store(to + m * LANES, along.sum[m]);
    }
  }
#if LAYER_ENVELOPES
  leave_out_far(tile, at, k, tile.row_gradient);
#endif
#if WEIGHTERS
  if (k > 0) weights_backward(step, tile, at, k);
#endif
}

static void evaluate_tile(Step& step, const TileMemory& tile, const EdgeTile& at, const Share& share) {
  if (!begin_tile(step, tile, at)) return;
#if LAYER_ENVELOPES
  take_envelopes(step, tile, at);
#endif
#if WEIGHTERS
  weights_forward(step, tile, at, 0);
#endif
  first_tensors(tile, at);
  for (int k = 0; k < N_LAYERS; k++) layer_forward(step, tile, at, k);
  clear(tile.row_gradient, (long)at.n * ROW_WIDTH);
  clear(tile.harmonic_gradient, (long)at.n * (N_HARMONICS - 1) * LANES);
  for (int k = 0; k < N_LAYERS; k++) clear(tile.sums_gradient[k], (long)(at.stop - at.start) * N_HARMONICS * CHANNELS);
  readout_both<false>(step, tile, at, tile.row_gradient);
  real *gradient = tile.gradient, *other = tile.other;
  for (int k = N_LAYERS - 1; k >= 0; k--) {
    layer_backward(step, tile, at, k, gradient, other);
    real* done = gradient;
    gradient = other;
    other = done;
  }
  first_tensors_backward(tile, at, gradient);
#if WEIGHTERS
  weights_backward(step, tile, at, 0);
#endif
  along_rows(tile, at.n);
  tile_forces(step, tile, at, share);
  for (int a = at.start; a < at.stop; a++) add_repulsion(step, a, step.energies[a]);
}

}  // namespace
