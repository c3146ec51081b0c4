// Vectors of the machine: loads, stores, the sum of the lanes and exp. Everything else is written in terms of these.
//
// Memory: a `vec` is LANES numbers side by side. `load` and `store` want addresses at multiples of its size; weights, rows of
// features and scratch memory are laid out so that every vector of channels starts at one. `load_unaligned` serves arrays of
// edges, where a block starts at any edge.
//
// | symbol    | meaning                                                                                  |
// | `real`    | float or double, as the model computes (model.inc)                                       |
// | `LANES`   | numbers in a vector: the machine's, or fewer where the model's channels fill no more     |
// | `vec`     | a vector of `real`, arithmetic lane by lane                                              |
// | `INLINE`  | a function that has no address and no call: what it holds stays in registers; INLINE_MEMBER of a class |
// | ALIGNMENT | bytes: that of the widest vector there is, and of a cache line                           |
#pragma once
#include <cstdint>
#include <cstring>

#define INLINE_MEMBER inline __attribute__((always_inline))
#define INLINE static INLINE_MEMBER

namespace {

constexpr int ALIGNMENT = 64;

typedef real vec __attribute__((vector_size(sizeof(real) * LANES)));
#if SINGLE_PRECISION
typedef int32_t whole;
#else
typedef int64_t whole;
#endif
typedef whole whole_vec __attribute__((vector_size(sizeof(real) * LANES)));

INLINE vec splat(real value) { return vec{} + value; }
INLINE vec load(const real* from) { return *(const vec*)from; }
INLINE vec load_unaligned(const real* from) {
  vec value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
INLINE void store(real* to, vec value) { *(vec*)to = value; }
INLINE void clear(real* from, long count) { std::memset(from, 0, count * sizeof(real)); }

// Sum of N lanes, halves first: the same order on every machine.
template <int N> struct Halving {
  typedef real part __attribute__((vector_size(sizeof(real) * N)));
  static inline __attribute__((always_inline)) real sum(part value) {
    typename Halving<N / 2>::part low, high;
    std::memcpy(&low, &value, sizeof low);
    std::memcpy(&high, (const char*)&value + sizeof low, sizeof high);
    return Halving<N / 2>::sum(low + high);
  }
};
template <> struct Halving<2> {
  typedef real part __attribute__((vector_size(sizeof(real) * 2)));
  static inline __attribute__((always_inline)) real sum(part value) { return value[0] + value[1]; }
};
INLINE real sum_lanes(vec value) { return Halving<LANES>::sum(value); }

// exp(x) = 2^n exp(f) with n = round(x / ln 2) and |f| <= ln(2) / 2. ln 2 is subtracted in two parts, the first of which has so
// few digits that its product with n is exact; exp(f) is its Taylor polynomial, cut where it rounds to the same number. 2^n is
// made of the bits of its exponent. Arguments beyond the range of `real` are clamped.
INLINE vec exp_lanes(vec x) {
#if SINGLE_PRECISION
  const real lowest = -87.0f, highest = 88.0f;
  const int exponent_bias = 127, fraction_bits = 23;
#else
  const real lowest = -708.0, highest = 709.0;
  const int exponent_bias = 1023, fraction_bits = 52;
#endif
  x = x < lowest ? splat(lowest) : x;
  x = x > highest ? splat(highest) : x;
  vec scaled = x * (real)1.4426950408889634;
  scaled = scaled + (scaled < 0 ? splat((real)-0.5) : splat((real)0.5));
  whole_vec n = __builtin_convertvector(scaled, whole_vec);
  vec n_real = __builtin_convertvector(n, vec);
#if SINGLE_PRECISION
  vec f = x - n_real * 0.693359375f;
  f = f + n_real * 2.12194440e-4f;
  const real taylor[] = {1.0f, 1.0f, 0.5f, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};
  const int degree = 7;
#else
  vec f = x - n_real * 0.693147180369123816490;
  f = f - n_real * 1.90821492927058770002e-10;
  const real taylor[] = {1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880,
                         1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};
  const int degree = 13;
#endif
  vec result = splat(taylor[degree]);
  for (int i = degree - 1; i >= 0; i--) result = result * f + taylor[i];
  whole_vec bits = (n + exponent_bias) << fraction_bits;
  vec power;
  std::memcpy(&power, &bits, sizeof power);
  return result * power;
}

}  // namespace
