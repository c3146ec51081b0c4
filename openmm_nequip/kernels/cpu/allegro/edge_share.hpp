// What a thread does of a step of an edge-wise model: its atoms, a few at a time, each with its own edges.
//
// An atom reads nothing of its neighbours but their types and positions, so threads need not wait for each other.
//
// | symbol          | meaning                                                                                           |
// | TILE_EDGES      | edges of a tile where it has more than one atom (model.inc)                                       |
// | TILE_ATOMS      | atoms of a tile at most (model.inc)                                                               |
// | `TileMemory`    | the family's, in the header that is included before this one                                      |
// | `evaluate_tile` | the family's, in the header that is included behind this one                                      |
// | `norms`         | factors of the sums over edges, of each type, behind the constants of all models                  |
#pragma once
#include <memory>
#include <vector>
#include "edge_tile.hpp"

namespace {

struct Step : StepState {
  static constexpr bool ORDER_BY_TYPE = true;  // tables are those of pairs of types
  int tile_edges = 0;                          // of the largest tile there can be
  std::vector<std::unique_ptr<TileMemory>> memory;

  void take_edges(int64_t atoms, int64_t edges, const int64_t* centres, const int64_t* neighbours, const double* shifts) {
    by_centre.sort(atoms, edges, centres, neighbours, shifts, place);
    tile_edges = TILE_EDGES;
    for (int64_t a = 0; a < atoms; a++) {
      const int own = by_centre.row[a + 1] - by_centre.row[a];
      tile_edges = own > tile_edges ? own : tile_edges;
    }
  }
  // Geometry is kept for a tile of each thread alone.
  void prepare_scratch(int n_threads) {
    while ((int)memory.size() < n_threads) memory.push_back(std::make_unique<TileMemory>());
    for (int t = 0; t < n_threads; t++) memory[t]->make_room(tile_edges);
    by_centre.make_room_for_geometry((long)n_threads * tile_room());
  }
  int tile_room() const { return (tile_edges + (int)SPARE) / (int)SPARE * (int)SPARE; }
  const double* norms() const { return charges() + (REPULSION ? N_TYPES : 0); }
};

static void evaluate_tile(Step& step, const TileMemory& tile, const EdgeTile& at, const Share& share);

// False if an edge has no length.
bool evaluate_share(Step& step, const Share& share) {
  bool good = true;
  const TileMemory& tile = *step.memory[share.thread];
  const int base = share.thread * step.tile_room();
  for (int start = share.from; start < share.to;) {
    int stop = start, candidates = 0, next = base;
    for (; stop < share.to && stop - start < TILE_ATOMS; stop++) {
      const int own = step.by_centre.row[stop + 1] - step.by_centre.row[stop];
      if (stop > start && candidates + own > TILE_EDGES) break;
      candidates += own;
      good = measure_edges(step.by_centre, stop, CENTRE, step.positions, share.cell, step.types, step.constants, next) && good;
    }
    evaluate_tile(step, tile, EdgeTile{start, stop, base, next - base}, share);
    start = stop;
  }
  return good;
}

}  // namespace
