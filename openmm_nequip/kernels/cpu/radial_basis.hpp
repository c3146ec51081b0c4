// Radial basis and its derivative at x = r / cutoff, in double precision: Bessel functions times a polynomial cutoff, or splines.
//
//     f_k(x) = factor c(x) sin(w_k x) / (pi x)                         w_k = pi root_k
//     c(x) = 1 - a x^p + b x^(p+1) - h x^(p+2)                         a = (p+1)(p+2)/2, b = p(p+2), h = p(p+1)/2
//     f_k'(x) = factor [c(x) (w_k cos(w_k x) / (pi x) - sin(w_k x) / (pi x) / x) + c'(x) sin(w_k x) / (pi x)]
//
//     splines: f_k(x) = (1 - cos z)^2 / 4, f_k'(x) = (1 - cos z) sin z / 2 dz/dx
//              z = 2 pi (x - lower_k) / width, kept from 0 to 2 pi, where f_k and three of its derivatives are zero
//
// With CONSTANTS two functions follow: c(x) without the factor, and 1. Without BASIS_ENDS c is 1.
//
// | symbol               | meaning                                                                                    |
// | N_BASIS, BASIS_WIDTH | functions, and the same padded to whole vectors                                            |
// | BASIS_ROOTS          | root_k; 1, 2, 3, ... unless they were trained                                              |
// | ROOTS_OF_PAIRS       | whether there are some for each pair of types: `pair` is N_TYPES * centre type + neighbour type |
// | BASIS_ENDS           | whether there is a cutoff                                                                  |
// | BASIS_FACTOR         | factor                                                                                     |
// | PLAIN_ROOTS          | whether they are 1, 2, 3, ...: sin((k + 1) t) and cos((k + 1) t) then follow from those of k t |
// | CUTOFF_POWER         | p                                                                                          |
// | WHOLE_POWER          | p - 1 where it is a whole number from 1 to 16, else 0                                      |
// | N_BESSEL             | those of N_BASIS that are Bessel functions                                                 |
// | SPLINES              | whether the basis is one of splines, with SPLINE_LOWER and SPLINE_WIDTH                    |
//
// References: Bessel basis and cutoff of J. Gasteiger et al., ICLR 2020, arXiv:2003.03123.
#pragma once
#include <cmath>
#include "vectors.hpp"

#if !TABULATED
namespace {

#if SPLINES
void radial_basis(double x, int, real* value, real* slope) {
  const double per_x = 2 * 3.14159265358979323846 / SPLINE_WIDTH;
  for (int k = 0; k < N_BASIS; k++) {
    const double from = x - SPLINE_LOWER[k];
    const bool inside = from > 0 && from < SPLINE_WIDTH;
    const double z = inside ? per_x * from : 0, rest = 1 - std::cos(z);
    value[k] = (real)(0.25 * rest * rest);
    slope[k] = (real)(0.5 * rest * std::sin(z) * per_x);
  }
  for (int k = N_BASIS; k < BASIS_WIDTH; k++) value[k] = slope[k] = 0;
}
#else
void radial_basis(double x, [[maybe_unused]] int pair, real* value, real* slope) {
  const double p = CUTOFF_POWER, a = (p + 1) * (p + 2) / 2, b = p * (p + 2), h = p * (p + 1) / 2, factor = BASIS_FACTOR;
  double top = x;  // x^(p - 1)
  if (WHOLE_POWER)
    for (int i = 1; i < WHOLE_POWER; i++) top = top * x;
  else
    top = std::pow(x, p - 1);
  const double bare = BASIS_ENDS ? 1 - top * x * (a - x * (b - x * h)) : 1, cut = factor * bare;
  const double bare_slope = BASIS_ENDS ? -top * (a * p - x * (b * (p + 1) - x * h * (p + 2))) : 0;
  const double cut_slope = factor * bare_slope;
  const double pi = 3.14159265358979323846, over = 1 / (pi * x);
#if PLAIN_ROOTS
  const double sin_first = std::sin(pi * x), cos_first = std::cos(pi * x);
  double s = sin_first, c = cos_first;
  for (int k = 0; k < N_BESSEL; k++) {
    const double w = pi * (k + 1), v = s * over, v_slope = (w * c * over) - v / x;
    value[k] = (real)(v * cut);
    slope[k] = (real)(v_slope * cut + v * cut_slope);
    const double next = s * cos_first + c * sin_first;
    c = c * cos_first - s * sin_first;
    s = next;
  }
#else
  const double* roots = BASIS_ROOTS + (ROOTS_OF_PAIRS ? pair * N_BESSEL : 0);
  for (int k = 0; k < N_BESSEL; k++) {
    const double w = pi * roots[k], v = std::sin(w * x) * over, v_slope = w * std::cos(w * x) * over - v / x;
    value[k] = (real)(v * cut);
    slope[k] = (real)(v_slope * cut + v * cut_slope);
  }
#endif
#if CONSTANTS
  value[N_BESSEL] = (real)bare;
  slope[N_BESSEL] = (real)bare_slope;
  value[N_BESSEL + 1] = 1;
  slope[N_BESSEL + 1] = 0;
#endif
  for (int k = N_BASIS; k < BASIS_WIDTH; k++) value[k] = slope[k] = 0;
}
#endif

}  // namespace
#endif
