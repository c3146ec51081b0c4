// Products of rows of numbers and small matrices.
//
//     outputs[r, :] += inputs[r, :] W              W is (n_in, n_out); rows lie anywhere in memory, or at equal distances
//
// Memory: both sides of a matrix are padded with zeros to whole vectors; the transposed one is stored as well where gradients go
// the other way, so both are the same product. Matrices are row-major, or in panels: two vectors of columns after another, each
// with all its rows behind one another, the last with one vector where their number is odd.
//
// | symbol            | meaning                                                                                       |
// | `multiply`        | for rows anywhere in memory and a row-major matrix                                            |
// | `multiply_panels` | for rows at equal distances and a matrix in panels; without ADD the outputs are set, not added to |
// | `DenseLayer`      | a matrix of a network in panels, and the transposed one, among the weights                    |
#pragma once
#include <type_traits>
#include "vectors.hpp"

namespace {

// ROWS x (COLUMNS vectors) of the result in registers, one column of the inputs after another.
template <int ROWS, int COLUMNS>
INLINE void multiply_registers(int n_in, const real* const* inputs, const real* matrix, int n_out, real* const* outputs) {
  vec sums[ROWS][COLUMNS];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) sums[r][c] = load(outputs[r] + c * LANES);
  for (int i = 0; i < n_in; i++) {
    vec row[COLUMNS];
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) row[c] = load(matrix + (long)i * n_out + c * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
      vec input = splat(inputs[r][i]);
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; c++) sums[r][c] += input * row[c];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) store(outputs[r] + c * LANES, sums[r][c]);
}

// All columns of ROWS rows.
template <int ROWS>
INLINE void multiply_rows(int n_in, int n_out, const real* const* inputs, const real* matrix, real* const* outputs) {
  real* at[ROWS];
  int c = 0;
  for (; c + 2 * LANES <= n_out; c += 2 * LANES) {
    for (int r = 0; r < ROWS; r++) at[r] = outputs[r] + c;
    multiply_registers<ROWS, 2>(n_in, inputs, matrix + c, n_out, at);
  }
  for (; c < n_out; c += LANES) {
    for (int r = 0; r < ROWS; r++) at[r] = outputs[r] + c;
    multiply_registers<ROWS, 1>(n_in, inputs, matrix + c, n_out, at);
  }
}

// outputs[r] += inputs[r] matrix for n rows; the matrix is (n_in, n_out). Up to 8 rows of 2 vectors at a time: of 32 registers
// (AVX-512) their sums take 16; with 16 registers a few of them go to the stack, which still costs less than fewer rows.
[[maybe_unused]] static void
multiply(int n, int n_in, int n_out, const real* const* inputs, const real* matrix, real* const* outputs) {
  int r = 0;
  for (; r + 8 <= n; r += 8) multiply_rows<8>(n_in, n_out, inputs + r, matrix, outputs + r);
  for (; r + 4 <= n; r += 4) multiply_rows<4>(n_in, n_out, inputs + r, matrix, outputs + r);
  for (; r + 2 <= n; r += 2) multiply_rows<2>(n_in, n_out, inputs + r, matrix, outputs + r);
  for (; r < n; r++) multiply_rows<1>(n_in, n_out, inputs + r, matrix, outputs + r);
}

// The same for ROWS rows at equal distances and one panel of COLUMNS vectors.
template <bool ADD, int ROWS, int COLUMNS>
INLINE void panel_registers(int n_in, const real* inputs, long input_stride, const real* panel, real* outputs,
                            long output_stride) {
  vec sums[ROWS][COLUMNS];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) sums[r][c] = ADD ? load(outputs + r * output_stride + c * LANES) : vec{};
  for (int i = 0; i < n_in; i++) {
    vec row[COLUMNS];
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) row[c] = load(panel + ((long)i * COLUMNS + c) * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
      const vec input = splat(inputs[r * input_stride + i]);
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; c++) sums[r][c] += input * row[c];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) store(outputs + r * output_stride + c * LANES, sums[r][c]);
}

// All rows of one panel, in blocks of nearly the same size: a block of few rows takes as long as one of four, and forty rows
// are better four times ten than three times twelve and four. With 32 registers the sums of 12 rows take 24 of them.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int MOST_ROWS = 12;
#else
constexpr int MOST_ROWS = 8;
#endif
template <bool ADD, int COLUMNS, int ROWS = MOST_ROWS>
INLINE void panel_block(int rows, int n_in, const real* inputs, long input_stride, const real* panel, real* outputs,
                        long output_stride) {
  if (rows == ROWS) panel_registers<ADD, ROWS, COLUMNS>(n_in, inputs, input_stride, panel, outputs, output_stride);
  else if constexpr (ROWS > 1)
    panel_block<ADD, COLUMNS, ROWS - 1>(rows, n_in, inputs, input_stride, panel, outputs, output_stride);
}
template <bool ADD, int COLUMNS>
static void panel_rows(int n, int n_in, const real* inputs, long input_stride, const real* panel, real* outputs,
                       long output_stride) {
  int r = 0;
  for (int blocks = (n + MOST_ROWS - 1) / MOST_ROWS; blocks > 0; blocks--) {
    const int rows = (n - r + blocks - 1) / blocks;
    panel_block<ADD, COLUMNS>(rows, n_in, inputs + r * input_stride, input_stride, panel, outputs + r * output_stride,
                              output_stride);
    r += rows;
  }
}

// The same for n rows `input_stride` and `output_stride` numbers apart and a matrix in panels; without ADD the outputs are set.
// One panel after another, so that it stays in the first cache for all rows.
template <bool ADD>
static void multiply_panels(int n, int n_in, int n_out, const real* inputs, long input_stride, const real* matrix, real* outputs,
                            long output_stride) {
  int c = 0;
  for (; c + 2 * LANES <= n_out; c += 2 * LANES)
    panel_rows<ADD, 2>(n, n_in, inputs, input_stride, matrix + (long)c * n_in, outputs + c, output_stride);
  if (c < n_out) panel_rows<ADD, 1>(n, n_in, inputs, input_stride, matrix + (long)c * n_in, outputs + c, output_stride);
}

// One layer of a network: a matrix and the transposed one.
struct DenseLayer {
  int n_in, n_out;
  long matrix, transposed;
};

}  // namespace
