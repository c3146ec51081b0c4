// Between the edges of an atom and the atom: sums of weighted harmonics, and the scalars that edges get back.
//
// For one atom, its edges e, harmonics Y[m] of order l(m), and channels c, with gradients of the energy named g(...):
//     A[m, c] = norm * sum over e of w[e, l(m), c] Y[e, m]                            weighted_sums
//     B[m, c] = norm * sum over e of h[e, c] Y[e, m]                                  plain_sums
//     s[e, c] = sum over m of w[e, l(m), c] Y[e, m] v[m, c]                           scalars
//
//     g(w[e, l, c])  = sum over m of order l of Y[e, m] G[m, c]                       weights_gradient     (G: norm times g(A))
//     g(h[e, c])   += sum over m of Y[e, m] G[m, c]                                   plain_gradient       (G: norm times g(B))
//     g(w[e, l, c])  = g(s[e, c]) sum over m of order l of Y[e, m] v[m, c]            scalars_gradient
//     g(v[m, c])    = sum over e of g(s[e, c]) w[e, l(m), c] Y[e, m]
//
// Weights w depend on the distance alone, so their gradients are not kept: each goes at once, times the derivative of its w, into
// `along` of its edge, dE/d(argument of the two-body functions), whose lanes are to be summed in the end.
//
// And g(Y[e, m]), which is the sum over c of all factors beside Y[e, m] above, see HarmonicGradient.
//
// Memory: channels in the lanes; edges are gone through with the sums of all m in registers. `Y` of an edge is one number for
// each m, `stride` apart. Rows of edges are ROW_WIDTH apart, or as wide as they have channels.
#pragma once
#include "vectors.hpp"

namespace {

// The edges of one atom in a tile, their harmonics, and how far those of one order are from those of the next.
struct Star {
  int from, to;
  const real* harmonic;
  long stride;

  INLINE_MEMBER real y(int m, int e) const { return harmonic[m * stride + e]; }
};

constexpr int first_of_order(int l) { return l * l; }

static void weighted_sums(const Star& star, const real* weights, real norm, real* sums) {
  for (int c = 0; c < CHANNELS; c += LANES) {
    vec sum[N_HARMONICS];
#pragma GCC unroll 32
    for (int m = 0; m < N_HARMONICS; m++) sum[m] = vec{};
    for (int e = star.from; e < star.to; e++) {
#pragma GCC unroll 8
      for (int l = 0; l < N_ORDERS; l++) {
        const vec w = load(weights + (long)e * ROW_WIDTH + l * CHANNELS + c);
#pragma GCC unroll 16
        for (int m = first_of_order(l); m < first_of_order(l + 1); m++) sum[m] += w * star.y(m, e);
      }
    }
#pragma GCC unroll 32
    for (int m = 0; m < N_HARMONICS; m++) store(sums + m * CHANNELS + c, sum[m] * norm);
  }
}

[[maybe_unused]] static void
plain_sums(const Star& star, const real* hidden, int width, real norm, real* sums) {
  for (int c = 0; c < width; c += LANES) {
    vec sum[N_HARMONICS];
#pragma GCC unroll 32
    for (int m = 0; m < N_HARMONICS; m++) sum[m] = vec{};
    for (int e = star.from; e < star.to; e++) {
      const vec h = load(hidden + (long)e * width + c);
#pragma GCC unroll 32
      for (int m = 0; m < N_HARMONICS; m++) sum[m] += h * star.y(m, e);
    }
#pragma GCC unroll 32
    for (int m = 0; m < N_HARMONICS; m++) store(sums + m * width + c, sum[m] * norm);
  }
}

[[maybe_unused]] static void
scalars(const Star& star, const real* weights, const real* v, real* s) {
  for (int c = 0; c < CHANNELS; c += LANES) {
    vec vector[N_HARMONICS];
#pragma GCC unroll 32
    for (int m = 0; m < N_HARMONICS; m++) vector[m] = load(v + m * CHANNELS + c);
    for (int e = star.from; e < star.to; e++) {
      vec sum = vec{};
#pragma GCC unroll 8
      for (int l = 0; l < N_ORDERS; l++) {
        vec part = vec{};
#pragma GCC unroll 16
        for (int m = first_of_order(l); m < first_of_order(l + 1); m++) part += vector[m] * star.y(m, e);
        sum += part * load(weights + (long)e * ROW_WIDTH + l * CHANNELS + c);
      }
      store(s + (long)e * CHANNELS + c, sum);
    }
  }
}

// `along` += sum over l and c of g(w[e, l, c]) w'[e, l, c], with `slopes` w'.
[[maybe_unused]] static void
scalars_gradient(const Star& star, const real* weights, const real* slopes, const real* v, const real* s_gradient,
                 real* along, real* v_gradient) {
  for (int c = 0; c < CHANNELS; c += LANES) {
    vec vector[N_HARMONICS], sum[N_HARMONICS];
#pragma GCC unroll 32
    for (int m = 0; m < N_HARMONICS; m++) {
      vector[m] = load(v + m * CHANNELS + c);
      sum[m] = vec{};
    }
    for (int e = star.from; e < star.to; e++) {
      const vec g = load(s_gradient + (long)e * CHANNELS + c);
      const long row = (long)e * ROW_WIDTH + c;
      vec inner = vec{};
#pragma GCC unroll 8
      for (int l = 0; l < N_ORDERS; l++) {
        const vec w = g * load(weights + row + l * CHANNELS);
        vec part = vec{};
        for (int m = first_of_order(l); m < first_of_order(l + 1); m++) {
          const real y = star.y(m, e);
          part += vector[m] * y;
          sum[m] += w * y;
        }
        inner += part * load(slopes + row + l * CHANNELS);
      }
      real* to = along + (long)e * LANES;
      store(to, load(to) + g * inner);
    }
#pragma GCC unroll 32
    for (int m = 0; m < N_HARMONICS; m++) store(v_gradient + m * CHANNELS + c, sum[m]);
  }
}

[[maybe_unused]] static void
weights_gradient(const Star& star, const real* slopes, const real* G, real* along) {
  for (int c = 0; c < CHANNELS; c += LANES) {
    vec vector[N_HARMONICS];
#pragma GCC unroll 32
    for (int m = 0; m < N_HARMONICS; m++) vector[m] = load(G + m * CHANNELS + c);
    for (int e = star.from; e < star.to; e++) {
      real* to = along + (long)e * LANES;
      vec sum = load(to);
#pragma GCC unroll 8
      for (int l = 0; l < N_ORDERS; l++) {
        vec part = vec{};
#pragma GCC unroll 16
        for (int m = first_of_order(l); m < first_of_order(l + 1); m++) part += vector[m] * star.y(m, e);
        sum += part * load(slopes + (long)e * ROW_WIDTH + l * CHANNELS + c);
      }
      store(to, sum);
    }
  }
}

[[maybe_unused]] static void
plain_gradient(const Star& star, const real* G, int width, real* h_gradient) {
  for (int c = 0; c < width; c += LANES) {
    vec vector[N_HARMONICS];
#pragma GCC unroll 32
    for (int m = 0; m < N_HARMONICS; m++) vector[m] = load(G + m * width + c);
    for (int e = star.from; e < star.to; e++) {
      vec even = load(h_gradient + (long)e * width + c), odd = vec{};  // two chains of additions
#pragma GCC unroll 32
      for (int m = 0; m < N_HARMONICS; m++) (m % 2 ? odd : even) += vector[m] * star.y(m, e);
      store(h_gradient + (long)e * width + c, even + odd);
    }
  }
}

// g(Y) of one edge; the harmonic of order 0 is a number and has none, so that of harmonic m is sum[m - 1]. Lanes are channels,
// to be summed in the end.
struct HarmonicGradient {
  vec sum[N_HARMONICS - 1];

  // factor[c] * weights[l(m), c] * v[m, c]
  INLINE_MEMBER void add_weighted(const real* factor, const real* weights, const real* v) {
    for (int c = 0; c < CHANNELS; c += LANES) {
      const vec g = load(factor + c);
#pragma GCC unroll 8
      for (int l = 1; l < N_ORDERS; l++) {
        const vec w = g * load(weights + l * CHANNELS + c);
#pragma GCC unroll 16
        for (int m = first_of_order(l); m < first_of_order(l + 1); m++) sum[m - 1] += w * load(v + m * CHANNELS + c);
      }
    }
  }

  // weights[l(m), c] * G[m, c]
  INLINE_MEMBER void add_weights(const real* weights, const real* G) {
    for (int c = 0; c < CHANNELS; c += LANES) {
#pragma GCC unroll 8
      for (int l = 1; l < N_ORDERS; l++) {
        const vec w = load(weights + l * CHANNELS + c);
#pragma GCC unroll 16
        for (int m = first_of_order(l); m < first_of_order(l + 1); m++) sum[m - 1] += w * load(G + m * CHANNELS + c);
      }
    }
  }

  // hidden[c] * G[m, c]
  INLINE_MEMBER void add_plain(const real* hidden, const real* G, int width) {
    for (int c = 0; c < width; c += LANES) {
      const vec h = load(hidden + c);
#pragma GCC unroll 32
      for (int m = 1; m < N_HARMONICS; m++) sum[m - 1] += h * load(G + m * width + c);
    }
  }
};

}  // namespace
