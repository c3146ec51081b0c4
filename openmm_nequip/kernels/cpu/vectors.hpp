// Vectors of the machine: loads, stores, sums of lanes and exp. Everything else is written in terms of these.
//
// Memory: a `vec` is LANES numbers side by side. `load` and `store` want addresses at multiples of its size; weights, rows of
// features and scratch memory are laid out so that every vector of channels starts at one. `load_unaligned` serves arrays of
// edges, where a block starts at any edge.
//
// | symbol    | meaning                                                                                  |
// | `real`    | float or double, as the model computes (model.inc)                                       |
// | `LANES`   | numbers in a vector: the machine's, or fewer where the model's channels fill no more     |
// | `vec`     | a vector of `real`, arithmetic lane by lane; `wide` is one of as many doubles              |
// | `INLINE`  | a function that has no address and no call: what it holds stays in registers; INLINE_MEMBER of a class |
// | ALIGNMENT | bytes: that of the widest vector there is, and of a cache line                           |
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>

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
typedef double wide __attribute__((vector_size(sizeof(double) * LANES)));

INLINE vec splat(real value) { return vec{} + value; }
INLINE vec load(const real* from) { return *(const vec*)from; }
INLINE vec load_unaligned(const real* from) {
  vec value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
INLINE wide load_wide(const double* from) {
  wide value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
INLINE wide widened(vec value) { return __builtin_convertvector(value, wide); }
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

// Sums of the lanes of LANES vectors at once, in the lanes of one: in turn, pairs of vectors become one with the sums of
// neighbouring lanes, then of neighbouring pairs of them, and so on. `values` is overwritten.
template <int BLOCK> struct Pairing {
  // Which lane of a and b, one behind the other, is the first of the two that are added into lane i.
  static constexpr int first(int i) {
    return i - i % (2 * BLOCK) + i % BLOCK + (i % (2 * BLOCK) < BLOCK ? 0 : LANES);
  }
  template <int... LANE> static INLINE_MEMBER vec add(vec a, vec b, std::integer_sequence<int, LANE...>) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, first(LANE)...) + __builtin_shufflevector(a, b, (first(LANE) + BLOCK)...);
#else
    const whole_vec low = {first(LANE)...}, high = {(first(LANE) + BLOCK)...};
    return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
#endif
  }
  static INLINE_MEMBER vec sums(vec* values) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES / (2 * BLOCK); i++)
      values[i] = add(values[2 * i], values[2 * i + 1], std::make_integer_sequence<int, LANES>{});
    return Pairing<2 * BLOCK>::sums(values);
  }
};
template <> struct Pairing<LANES> {
  static INLINE_MEMBER vec sums(vec* values) { return values[0]; }
};
INLINE vec sums_of_lanes(vec* values) { return Pairing<1>::sums(values); }


// x between two numbers; what is no number stays none. GCC makes a comparison and a choice of the general form.
INLINE vec between(real lowest, real highest, vec x) {
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__) && SINGLE_PRECISION && LANES == 16
  x = __builtin_ia32_maxps512_mask(splat(lowest), x, x, (unsigned short)-1, 4);
  return __builtin_ia32_minps512_mask(splat(highest), x, x, (unsigned short)-1, 4);
#else
  x = x < lowest ? splat(lowest) : x;
  return x > highest ? splat(highest) : x;
#endif
}

// exp(x) = 2^n 2^f with n = round(x / ln 2) and |f| <= 1/2, where x / ln 2 - n is one operation, so that f is not the difference
// of two rounded numbers; 2^f is its Taylor polynomial, cut where it rounds to the same number and summed in pairs, then pairs
// of pairs, because sums one after another wait for each other. Adding 1.5 times the number whose last digit is 1 rounds to
// whole numbers, and leaves n in the last bits; from there it is added to the exponent of 2^f. Arguments beyond the range of
// `real` are clamped.
INLINE vec exp_lanes(vec x) {
#if SINGLE_PRECISION
  const real lowest = -87.0f, highest = 88.0f, round = 12582912.0f;
  constexpr int FRACTION_BITS = 23, TERMS = 8;
#else
  const real lowest = -708.0, highest = 709.0, round = 6755399441055744.0;
  constexpr int FRACTION_BITS = 52, TERMS = 14;
#endif
  constexpr double LN_2 = 0.69314718055994530942;
  x = between(lowest, highest, x);
  const vec rounded = x * (real)(1 / LN_2) + round, f = x * (real)(1 / LN_2) - (rounded - round);
  whole_vec n;
  std::memcpy(&n, &rounded, sizeof n);
  vec sums[TERMS / 2], power = f;
  double coefficient = 1;
#pragma GCC unroll 16
  for (int i = 0; i < TERMS / 2; i++) {
    const double next = coefficient * LN_2 / (2 * i + 1);
    sums[i] = power * (real)next + (real)coefficient;
    coefficient = next * LN_2 / (2 * i + 2);
  }
#pragma GCC unroll 4
  for (int count = TERMS / 2; count > 1; count = (count + 1) / 2) {
    power = power * power;
#pragma GCC unroll 16
    for (int i = 0; i < count / 2; i++) sums[i] = sums[2 * i + 1] * power + sums[2 * i];
    if (count % 2) sums[count / 2] = sums[count - 1];
  }
  whole_vec bits;
  std::memcpy(&bits, &sums[0], sizeof bits);
  bits += n << FRACTION_BITS;
  vec result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

}  // namespace
