// Two-body functions: the row of an edge as far as it depends on its distance and the types of its atoms alone.
//
// With tables it is a polynomial for each pair of types, see table_values.hpp. Without, an MLP of the radial basis B(x),
//     h = B(x) M[centre type, neighbour type]        h <- f(h) W_0        h <- f(h) W_1        ...
// with the derivative beside the value, because x is its only variable:
//     h' = B'(x) M        h' <- (f'(h) h') W_0        ...
//
// With an ENVELOPE the cutoff u(x), one of the functions of the basis, is a factor of the last h, and stands first in the row,
// in every lane of a vector.
//
// Memory: tables lie pair by pair (centre type first), knot by knot. Without tables the derivatives of a tile are rows behind
// those of the values, so that both go through a matrix in one product.
//
// | symbol                   | meaning                                                                                  |
// | TABLE                    | the tables among the weights (model.inc)                                                 |
// | PAIRS, PAIR_WIDTH        | matrices M, and their padded columns (model.inc)                                         |
// | EMBEDDING, N_EMBEDDING   | W_0, W_1, ...: the last gives the row (model.inc)                                        |
// | EMBEDDING_ACTIVATION     | f (model.inc); its factor is in the matrices                                             |
#pragma once
#include "table_values.hpp"
#include "edge_memory.hpp"

namespace {

#if TABULATED

// Where the coefficients of an edge begin.
static const real* table_of(const StepState& step, const EdgeMemory& tile, int base, int e) {
  const int pair = step.types[tile.owner[e]] * N_TYPES + step.by_centre.type[base + e];
  return step.weights + TABLE + ((long)pair * N_KNOTS + step.by_centre.knot[base + e]) * (COEFFICIENTS * ROW_WIDTH);
}

void two_body(const StepState& step, const EdgeMemory& tile, int base, int n) {
  const Edges& edges = step.by_centre;
  for (int e = 0; e < n; e++) {
    const real *table = table_of(step, tile, base, e), *next = table_of(step, tile, base, e + 1 < n ? e + 1 : e);
    const vec fraction = splat(edges.fraction[base + e]);
    real *row = tile.row + (long)e * ROW_WIDTH, *row_slope = tile.row_slope + (long)e * ROW_WIDTH;
    for (int c = 0; c < ROW_WIDTH; c += LANES) {
      // Tables are larger than the near caches: those of the next edge are asked for while this one is computed.
      for (int i = 0; i < COEFFICIENTS * LANES; i += ALIGNMENT / (int)sizeof(real))
        __builtin_prefetch(next + (long)COEFFICIENTS * c + i);
      vec slope;
      store(row + c, table_value(table + (long)COEFFICIENTS * c, fraction, slope));
      store(row_slope + c, slope);
    }
  }
}

#else

// h and h' of every edge, n rows each, `stride` numbers apart.
void first_of_pair(const StepState& step, const EdgeMemory& tile, int base, int n, real* values, real* slopes, long stride) {
  const Edges& edges = step.by_centre;
  for (int e = 0; e < n; e++) {
    const int pair = step.types[tile.owner[e]] * N_TYPES + edges.type[base + e];
    const real* matrix = step.weights + PAIRS + (long)pair * N_BASIS * PAIR_WIDTH;
    const real *basis = edges.basis + (long)(base + e) * BASIS_WIDTH, *slope = edges.basis_slope + (long)(base + e) * BASIS_WIDTH;
    for (int c = 0; c < PAIR_WIDTH; c += LANES) {
      vec sum = vec{}, slope_sum = vec{};
      for (int i = 0; i < N_BASIS; i++) {
        const vec weight = load(matrix + i * PAIR_WIDTH + c);
        sum += basis[i] * weight;
        slope_sum += slope[i] * weight;
      }
      store(values + e * stride + c, sum);
      store(slopes + e * stride + c, slope_sum);
    }
  }
}

#if ENVELOPE
// u h and its derivative in place of h and h', n rows each.
void take_envelope(const Edges& edges, int base, int n, int width, real* values, real* slopes) {
  for (int e = 0; e < n; e++) {
    const long at = (long)(base + e) * BASIS_WIDTH + N_BESSEL;
    const real u = edges.basis[at], u_slope = edges.basis_slope[at];
    for (int c = 0; c < width; c += LANES) {
      real *value = values + (long)e * width + c, *slope = slopes + (long)e * width + c;
      store(slope, load(slope) * u + load(value) * u_slope);
      store(value, load(value) * u);
    }
  }
}

void put_envelope(const Edges& edges, const EdgeMemory& tile, int base, int n) {
  for (int e = 0; e < n; e++) {
    const long at = (long)(base + e) * BASIS_WIDTH + N_BESSEL;
    store(tile.row + (long)e * ROW_WIDTH, splat(edges.basis[at]));
    store(tile.row_slope + (long)e * ROW_WIDTH, splat(edges.basis_slope[at]));
  }
}
#endif

void two_body(const StepState& step, const EdgeMemory& tile, int base, int n) {
  if (N_EMBEDDING == 0) return first_of_pair(step, tile, base, n, tile.row, tile.row_slope, ROW_WIDTH);
  real *from = tile.first, *to = tile.second;
  first_of_pair(step, tile, base, n, from, from + (long)n * PAIR_WIDTH, PAIR_WIDTH);
  for (int k = 0; k < N_EMBEDDING; k++) {
    const DenseLayer& layer = EMBEDDING[k];
    const long slopes = (long)n * layer.n_in;  // where they begin
    for (long i = 0; i < slopes; i += LANES) {
      vec value, slope;
      activate(EMBEDDING_ACTIVATION, load(from + i), value, slope);
      store(from + i, value);
      store(from + slopes + i, load(from + slopes + i) * slope);
    }
    if (k + 1 == N_EMBEDDING) {
#if ENVELOPE
      take_envelope(step.by_centre, base, n, layer.n_in, from, from + slopes);
#endif
      multiply_panels<false>(n, layer.n_in, ROW_WIDTH, from, layer.n_in, step.weights + layer.matrix, tile.row, ROW_WIDTH);
      multiply_panels<false>(n, layer.n_in, ROW_WIDTH, from + slopes, layer.n_in, step.weights + layer.matrix, tile.row_slope,
                              ROW_WIDTH);
#if ENVELOPE
      put_envelope(step.by_centre, tile, base, n);
#endif
    } else {
      multiply_panels<false>(2 * n, layer.n_in, layer.n_out, from, layer.n_in, step.weights + layer.matrix, to, layer.n_out);
      real* other = from;
      from = to;
      to = other;
    }
  }
}
#endif

}  // namespace
