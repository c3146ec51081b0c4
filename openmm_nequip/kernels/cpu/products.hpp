// Products of rows of numbers and small matrices.
//
//     outputs[r, :] += inputs[r, :] W              W is (n_in, n_out); rows lie anywhere in memory, or at equal distances
//
// Memory: matrices are row-major with both sides padded with zeros to whole vectors; the transposed one is stored as well where
// gradients go the other way, so both are the same product.
//
// | symbol            | meaning                                                                                       |
// | `multiply`        | for rows anywhere in memory                                                                   |
// | `multiply_strided` | for rows at equal distances; without ADD the outputs are set instead of added to              |
// | `DenseLayer`      | a matrix of a network, and the transposed one, among the weights                              |
#pragma once
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
static void multiply(int n, int n_in, int n_out, const real* const* inputs, const real* matrix, real* const* outputs) {
  int r = 0;
  for (; r + 8 <= n; r += 8) multiply_rows<8>(n_in, n_out, inputs + r, matrix, outputs + r);
  for (; r + 4 <= n; r += 4) multiply_rows<4>(n_in, n_out, inputs + r, matrix, outputs + r);
  for (; r + 2 <= n; r += 2) multiply_rows<2>(n_in, n_out, inputs + r, matrix, outputs + r);
  for (; r < n; r++) multiply_rows<1>(n_in, n_out, inputs + r, matrix, outputs + r);
}

// The same for rows `input_stride` and `output_stride` numbers apart.
template <bool ADD>
static void multiply_strided(int n, int n_in, int n_out, const real* inputs, long input_stride, const real* matrix,
                             real* outputs, long output_stride) {
  constexpr int MOST = 16;
  const real* from[MOST];
  real* to[MOST];
  for (int start = 0; start < n; start += MOST) {
    const int rows = n - start < MOST ? n - start : MOST;
    for (int r = 0; r < rows; r++) {
      from[r] = inputs + (start + r) * input_stride;
      to[r] = outputs + (start + r) * output_stride;
      if (!ADD) clear(to[r], n_out);
    }
    multiply(rows, n_in, n_out, from, matrix, to);
  }
}

// One layer of a network: a matrix and the transposed one.
struct DenseLayer {
  int n_in, n_out;
  long matrix, transposed;
};

}  // namespace
