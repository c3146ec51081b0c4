// Activations: value f(x) and derivative f'(x) of a vector at once.
//
// | kind     | f(x)                                      | f'(x)                                            |
// | IDENTITY | x                                         | 1                                                |
// | SILU     | x s, with s = 1 / (1 + exp(-x))           | s + x s (1 - s)                                  |
// | TANH     | tanh(x) = 1 - 2 / (exp(2x) + 1)           | 1 - tanh(x)^2                                    |
// | ABS      | |x|                                       | sign(x)                                          |
// | SSP      | softplus(x) - ln 2                        | s                                                |
// | MISH     | x t, with t = tanh(softplus(x))           | t + x (1 - t^2) s                                |
// | GELU     | x c, with c = erfc(-x / sqrt 2) / 2       | c + x exp(-x^2 / 2) / sqrt(2 pi)                 |
// | SIGMOID  | s                                         | s (1 - s)                                        |
// | SOFTPLUS | ln(1 + exp(x)); x above 20, as torch has it | s; 1 above 20                                  |
//
// The factor that e3nn puts before an activation (normalize2mom) is not in here; who calls multiplies with it.
#pragma once
#include <cmath>
#include "vectors.hpp"

namespace {

// The numbers are those of ACTIVATION_KINDS in the generator.
enum { IDENTITY, SILU, TANH, ABS, SSP, MISH, GELU, SIGMOID, SOFTPLUS };

INLINE void activate(int kind, vec x, vec& value, vec& slope) {
  const vec one = splat(1);
  if (kind == SILU) {
    vec sigmoid = one / (one + exp_lanes(-x));
    value = x * sigmoid;
    slope = sigmoid + value * (one - sigmoid);
  } else if (kind == SIGMOID) {
    value = one / (one + exp_lanes(-x));
    slope = value * (one - value);
  } else if (kind == TANH) {
    vec tanh = one - 2 / (exp_lanes(2 * x) + one);
    value = tanh;
    slope = one - tanh * tanh;
  } else if (kind == ABS) {
    value = x < 0 ? -x : x;
    slope = x < 0 ? -one : (x > 0 ? one : vec{});
  } else if (kind == IDENTITY) {
    value = x;
    slope = one;
  } else {  // rare: lane by lane, in double precision
    value = slope = vec{};
    for (int i = 0; i < LANES; i++) {
      double a = x[i], softplus = a > 0 ? a + std::log1p(std::exp(-a)) : std::log1p(std::exp(a));
      double sigmoid = 1 / (1 + std::exp(-a));
      if (kind == SSP) {
        value[i] = softplus - 0.6931471805599453;
        slope[i] = sigmoid;
      } else if (kind == SOFTPLUS) {
        value[i] = a > 20 ? a : softplus;
        slope[i] = a > 20 ? 1 : sigmoid;
      } else if (kind == MISH) {
        double tanh = std::tanh(softplus);
        value[i] = a * tanh;
        slope[i] = tanh + a * (1 - tanh * tanh) * sigmoid;
      } else {
        double c = 0.5 * std::erfc(-a * 0.7071067811865476);
        value[i] = a * c;
        slope[i] = c + a * 0.3989422804014327 * std::exp(-0.5 * a * a);
      }
    }
  }
}

}  // namespace
