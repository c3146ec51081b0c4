// Products of rows of numbers and small matrices.
//
//     outputs[r, :] += inputs[r, :] W              W is (n_in, n_out); rows lie anywhere in memory, or at equal distances
//
// Memory: both sides of a matrix are padded with zeros to whole vectors; the transposed one is stored as well where gradients go
// the other way, so both are the same product. Matrices are in panels: two vectors of columns after another, each with all its
// rows behind one another, the last with one vector where their number is odd.
//
// | symbol            | meaning                                                                                       |
// | `multiply`        | for rows anywhere in memory                                                                   |
// | `multiply_panels` | for rows at equal distances; without ADD the outputs are set, not added to                     |
// | `Scattered`, `Spaced` | rows of either kind: row(r) is one of them, from(r) all from one on                       |
// | `DenseLayer`      | a matrix of a network and the transposed one, among the weights                                |
#pragma once
#include <type_traits>
#include "vectors.hpp"

namespace {

template <class Real> struct Scattered {
  Real* const* rows;
  INLINE_MEMBER Real* row(int r) const { return rows[r]; }
  INLINE_MEMBER Scattered from(int r) const { return {rows + r}; }
};
template <class Real> struct Spaced {
  Real* first;
  long stride;
  INLINE_MEMBER Real* row(int r) const { return first + r * stride; }
  INLINE_MEMBER Spaced from(int r) const { return {first + r * stride, stride}; }
};

// ROWS x (COLUMNS vectors) of the result in registers, one column of the inputs after another. Columns are those from `at` on.
template <bool ADD, int ROWS, int COLUMNS, class Inputs, class Outputs>
INLINE void panel_registers(int n_in, Inputs inputs, const real* panel, Outputs outputs, int at) {
  vec sums[ROWS][COLUMNS];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) sums[r][c] = ADD ? load(outputs.row(r) + at + c * LANES) : vec{};
  for (int i = 0; i < n_in; i++) {
    vec row[COLUMNS];
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) row[c] = load(panel + ((long)i * COLUMNS + c) * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
      const vec input = splat(inputs.row(r)[i]);
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; c++) sums[r][c] += input * row[c];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) store(outputs.row(r) + at + c * LANES, sums[r][c]);
}

// All rows of one panel, in blocks of nearly the same size: a block of few rows takes as long as one of four, and forty rows
// are better four times ten than three times twelve and four. With 32 registers the sums of 12 rows take 24 of them.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int MOST_ROWS = 12;
#else
constexpr int MOST_ROWS = 8;
#endif
template <bool ADD, int COLUMNS, int ROWS, class Inputs, class Outputs>
INLINE void panel_block(int rows, int n_in, Inputs inputs, const real* panel, Outputs outputs, int at) {
  if (rows == ROWS) panel_registers<ADD, ROWS, COLUMNS>(n_in, inputs, panel, outputs, at);
  else if constexpr (ROWS > 1) panel_block<ADD, COLUMNS, ROWS - 1>(rows, n_in, inputs, panel, outputs, at);
}
template <bool ADD, int COLUMNS, class Inputs, class Outputs>
static void panel_rows(int n, int n_in, Inputs inputs, const real* panel, Outputs outputs, int at) {
  int r = 0;
  for (int blocks = (n + MOST_ROWS - 1) / MOST_ROWS; blocks > 0; blocks--) {
    const int rows = (n - r + blocks - 1) / blocks;
    panel_block<ADD, COLUMNS, MOST_ROWS>(rows, n_in, inputs.from(r), panel, outputs.from(r), at);
    r += rows;
  }
}

// One panel after another, so that it stays in the first cache for all rows.
template <bool ADD, class Inputs, class Outputs>
static void all_panels(int n, int n_in, int n_out, Inputs inputs, const real* matrix, Outputs outputs) {
  int c = 0;
  for (; c + 2 * LANES <= n_out; c += 2 * LANES) panel_rows<ADD, 2>(n, n_in, inputs, matrix + (long)c * n_in, outputs, c);
  if (c < n_out) panel_rows<ADD, 1>(n, n_in, inputs, matrix + (long)c * n_in, outputs, c);
}

[[maybe_unused]] static void
multiply(int n, int n_in, int n_out, const real* const* inputs, const real* matrix, real* const* outputs) {
  all_panels<true>(n, n_in, n_out, Scattered<const real>{inputs}, matrix, Scattered<real>{outputs});
}

template <bool ADD>
static void multiply_panels(int n, int n_in, int n_out, const real* inputs, long input_stride, const real* matrix, real* outputs,
                            long output_stride) {
  all_panels<ADD>(n, n_in, n_out, Spaced<const real>{inputs, input_stride}, matrix, Spaced<real>{outputs, output_stride});
}

// One layer of a network: a matrix and the transposed one.
struct DenseLayer {
  int n_in, n_out;
  long matrix, transposed;
};

}  // namespace
