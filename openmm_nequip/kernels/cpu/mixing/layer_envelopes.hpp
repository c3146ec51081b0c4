// Cutoffs of the latents of a model whose layers have their own, as functions of the distance r.
//
// With s the shape and R_k the cutoff of layer k, where u_k and its slope become 0:
//     cosine         u_k = 1 up to s R_k, from there on (1 + cos z) / 2 with z = pi (r - s R_k) / (R_k - s R_k)
//     polynomial     u_k = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2) with x = r / R_k and p = s
// They are not smooth enough for tables where the cosine begins. So they are made here: u_0 becomes a factor of all that the
// row of an edge has of its length and types, u_1, u_2, ... stand first in the row, each in every lane of a vector.
//
// | symbol            | meaning                                                                                         |
// | `envelope_place`  | where the factor of V_{k+1} is in the row                                                       |
// | COSINE_ENVELOPES, ENVELOPE_CUTOFFS, ENVELOPE_SHAPE | kind, R_k and s (model.inc)                                    |
#pragma once
#include <cmath>
#include "edge_share.hpp"

namespace {

inline int envelope_place(int k) { return LAYER_ENVELOPES ? k * LANES : 0; }

#if LAYER_ENVELOPES

// u_k, and du_k/dr.
static double layer_envelope(int k, double r, double& slope) {
  const double cutoff = ENVELOPE_CUTOFFS[k];
  slope = 0;
  if (r >= cutoff) return 0;
  if (COSINE_ENVELOPES) {
    const double start = ENVELOPE_SHAPE * cutoff, per = 3.14159265358979323846 / (cutoff - start), z = per * (r - start);
    if (z <= 0) return 1;
    slope = -0.5 * per * std::sin(z);
    return 0.5 * (1 + std::cos(z));
  }
  const double p = ENVELOPE_SHAPE, a = (p + 1) * (p + 2) / 2, b = p * (p + 2), h = p * (p + 1) / 2;
  const double x = r / cutoff, top = std::pow(x, p - 1);
  slope = -top * (a * p - x * (b * (p + 1) - x * h * (p + 2))) / cutoff;
  return 1 - top * x * (a - x * (b - x * h));
}

static void take_envelopes(const StepState& step, const EdgeMemory& tile, const EdgeTile& at) {
  for (int e = 0; e < at.n; e++) {
    const double r = step.by_centre.length[at.base + e], per_r = 1 / step.by_centre.chain[at.base + e];
    real *row = tile.row + (long)e * ROW_WIDTH, *row_slope = tile.row_slope + (long)e * ROW_WIDTH;
    double slope;
    const real u = (real)layer_envelope(0, r, slope), u_slope = (real)(slope * per_r);
    for (int c = N_LAYERS * LANES; c < ROW_WIDTH; c += LANES) {
      const vec value = load(row + c);
      store(row_slope + c, u * load(row_slope + c) + u_slope * value);
      store(row + c, u * value);
    }
    for (int k = 0; k < N_LAYERS; k++) {
      store(row + envelope_place(k), splat((real)layer_envelope(k + 1, r, slope)));
      store(row_slope + envelope_place(k), splat((real)(slope * per_r)));
    }
  }
}

// Weights of A_k, or their gradients, of the edges that are beyond the cutoff of layer k become 0.
static void leave_out_far(const EdgeMemory& tile, const EdgeTile& at, int k, real* rows) {
  if (k == 0) return;  // there u_0 is a factor of the weights
  for (int e = 0; e < at.n; e++)
    if (tile.row[(long)e * ROW_WIDTH + envelope_place(k - 1)] == 0)
      clear(rows + (long)e * ROW_WIDTH + ENVIRONMENTS[k], N_ORDERS * CHANNELS);
}

#endif

}  // namespace
