// Linear maps of features: small matrix products, and maps between blocks of irreducible representations.
//
// Forward, for every map (source block s -> target block t of one irrep l) and every component m of it:
//     target[m, :] += source[m, :] W              W is (n_in, n_out), one matrix or one for each atom type
// Backward, with gradients g of the energy with respect to both:
//     g_source[m, :] += g_target[m, :] W^T        the transposed matrix is stored as well, so both are the same product
//
// Memory: the features of an atom are one row of numbers, block by block, component by component, channels side by side and
// padded with zeros to whole vectors. Matrices are row-major with both sides padded the same way.
//
// | symbol           | meaning                                                                                        |
// | `multiply`       | outputs[r] += inputs[r] matrix for rows r anywhere in memory                                   |
// | `LinearMap`      | one map: places in the rows, padded channels, and where its matrices are among the weights     |
// | `Tile`           | atoms that go through a layer together while their rows are in the cache, sorted by type        |
// | `apply_maps`     | all maps of one kind for the atoms of a tile                                                   |
// | MOST_TILE_ATOMS  | atoms in a tile at most (model.inc)                                                            |
// | MOST_COMPONENTS  | 2 l + 1 of the largest l (model.inc)                                                           |
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

struct LinearMap {
  int source, n_in;    // place of the source block in its row, padded channels
  int target, n_out;   // the same of the target block
  int components;      // 2 l + 1
  int typed;           // whether there is a matrix for each atom type
  long matrix, transposed;
};

// Matrices of one layer of a readout network; no components, no types.
struct DenseLayer {
  int n_in, n_out;
  long matrix, transposed;
};

struct Tile {
  int n_atoms;
  int order[MOST_TILE_ATOMS];  // atoms of the tile, those of one type behind one another
  int type[MOST_TILE_ATOMS];   // type of atom order[i]

  // Atoms start .. stop - 1 of all; an insertion sort, because they are a handful.
  Tile(const int* types, int start, int stop) : n_atoms(stop - start) {
    for (int i = 0; i < n_atoms; i++) {
      const int own = types[start + i];
      int at = i;
      for (; at > 0 && type[at - 1] > own; at--) {
        type[at] = type[at - 1];
        order[at] = order[at - 1];
      }
      type[at] = own;
      order[at] = i;
    }
  }
};

enum Direction { FORWARD, BACKWARD };

// targets += sources W, or with BACKWARD targets += sources W^T, where `sources` then are gradients of the maps' targets.
// Both point to the row of the tile's first atom; widths are the numbers in a row.
static void apply_maps(const LinearMap* maps, int n_maps, Direction direction, const real* weights, const Tile& tile,
                       const real* sources, long source_width, real* targets, long target_width) {
  const real* inputs[MOST_TILE_ATOMS * MOST_COMPONENTS];
  real* outputs[MOST_TILE_ATOMS * MOST_COMPONENTS];
  for (int i = 0; i < n_maps; i++) {
    const LinearMap& map = maps[i];
    const bool transposed = direction == BACKWARD;
    const int n_in = transposed ? map.n_out : map.n_in, n_out = transposed ? map.n_in : map.n_out;
    const int from = transposed ? map.target : map.source, to = transposed ? map.source : map.target;
    const real* matrix = weights + (transposed ? map.transposed : map.matrix);
    for (int start = 0; start < tile.n_atoms;) {
      int stop = start, rows = 0;
      for (; stop < tile.n_atoms && (!map.typed || tile.type[stop] == tile.type[start]); stop++)
        for (int m = 0; m < map.components; m++, rows++) {
          inputs[rows] = sources + tile.order[stop] * source_width + from + m * n_in;
          outputs[rows] = targets + tile.order[stop] * target_width + to + m * n_out;
        }
      multiply(rows, n_in, n_out, inputs, matrix + (map.typed ? (long)tile.type[start] * n_in * n_out : 0), outputs);
      start = stop;
    }
  }
}

}  // namespace
