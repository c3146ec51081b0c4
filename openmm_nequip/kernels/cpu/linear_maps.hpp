// Linear maps of features: maps between blocks of irreducible representations, as small matrix products (products.hpp).
//
// Forward, for every map (source block s -> target block t of one irrep l) and every component m of it:
//     target[m, :] += source[m, :] W              W is (n_in, n_out), one matrix or one for each atom type
// Backward, with gradients g of the energy with respect to both:
//     g_source[m, :] += g_target[m, :] W^T        the transposed matrix is stored as well, so both are the same product
//
// Memory: the features of an atom are one row of numbers, block by block, component by component, channels side by side and
// padded with zeros to whole vectors.
//
// | symbol           | meaning                                                                                        |
// | `LinearMap`      | one map: places in the rows, padded channels, and where its matrices are among the weights     |
// | `Tile`           | atoms that go through a layer together while their rows are in the cache, sorted by type        |
// | `apply_maps`     | all maps of one kind for the atoms of a tile                                                   |
// | MOST_TILE_ATOMS  | atoms in a tile at most (model.inc)                                                            |
// | MOST_COMPONENTS  | 2 l + 1 of the largest l (model.inc)                                                           |
#pragma once
#include "products.hpp"

namespace {

struct LinearMap {
  int source, n_in;    // place of the source block in its row, padded channels
  int target, n_out;   // the same of the target block
  int components;      // 2 l + 1
  int typed;           // whether there is a matrix for each atom type
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
