// Values of Hermite tables, and their derivative with respect to the fraction f of the interval between two knots:
//     R = t_0 + t_1 f + ... + t_n f^n          dR/df = t_1 + 2 t_2 f + ... + n t_n f^(n-1)
//
// Memory: a table is (knot, vector of channels, power, lane): the coefficients of one vector of channels stand behind one
// another.
//
// | symbol        | meaning                                                                                         |
// | `table_value` | R of one vector of channels                                                                     |
// | COEFFICIENTS  | of the polynomial between two knots: its degree and one (model.inc)                             |
#pragma once
#include "vectors.hpp"

#if TABULATED
namespace {

INLINE vec table_value(const real* table, vec f) {
  vec value = load(table + (COEFFICIENTS - 1) * LANES);
#pragma GCC unroll 16
  for (int i = COEFFICIENTS - 2; i >= 0; i--) value = value * f + load(table + i * LANES);
  return value;
}

INLINE vec table_value(const real* table, vec f, vec& slope) {
  vec value = load(table + (COEFFICIENTS - 1) * LANES);
  slope = value;
  value = value * f + load(table + (COEFFICIENTS - 2) * LANES);
#pragma GCC unroll 16
  for (int i = COEFFICIENTS - 3; i >= 0; i--) {
    slope = slope * f + value;
    value = value * f + load(table + i * LANES);
  }
  return value;
}

}  // namespace
#endif
