// The edges of a few atoms, a tile: their harmonics, the readout of their energies, and from gradients to forces.
//
// The formulas are those of edgewise_step.hpp and mixing_step.hpp. A tile needs nothing of other tiles, so its rows stay in the
// cache from the distances to the forces.
//
// | symbol       | meaning                                                                                              |
// | `EdgeTile`   | atoms start .. stop - 1 of the step; their edges are those from `base` on in `by_centre`, n of them   |
// | READOUT_LAST | the last matrix of the readout, which gives a number (model.inc)                                      |
#pragma once
#include "edge_memory.hpp"
#include "environment.hpp"
#include "pair_forces.hpp"

namespace {

struct EdgeTile {
  int start, stop, base, n;

  Star star(const Edges& edges, const EdgeMemory& tile, int a) const {
    const int from = edges.first[a] - base;
    return Star{from, from + edges.count[a], tile.harmonic, tile.rows};
  }
};

static void tile_harmonics(const StepState& step, const EdgeMemory& tile, const EdgeTile& at) {
  const Edges& edges = step.by_centre;
  for (int e = 0; e < at.n; e += LANES) {
    alignas(ALIGNMENT) real harmonic[N_HARMONICS][LANES];
    store(harmonic[0], splat((real)HARMONIC_0));
    harmonics(load_unaligned(edges.direction[0] + at.base + e), load_unaligned(edges.direction[1] + at.base + e),
              load_unaligned(edges.direction[2] + at.base + e), harmonic);
    for (int m = 0; m < N_HARMONICS; m++) store(tile.harmonic + (long)m * tile.rows + e, load(harmonic[m]));
  }
}

// Energies of the atoms, and the gradient of the inputs of the readout.
static void readout_both(StepState& step, const EdgeMemory& tile, const EdgeTile& at) {
  const EdgeNetwork& network = NETWORKS[N_LAYERS];
  network_forward<READOUT_ACTIVATION>(network, step.weights, at.n, tile.row, tile.value[N_LAYERS], tile.slope[N_LAYERS],
                                      tile.first);
  const int width = last_width(N_LAYERS);
  const real *hidden = tile.value[N_LAYERS][network.n_hidden - 1], *last = step.weights + READOUT_LAST;
  for (int a = at.start; a < at.stop; a++) {
    const Star star = at.star(step.by_centre, tile, a);
    const double scale = step.scales()[step.types[a]];
    vec sum = vec{};
    for (int e = star.from; e < star.to; e++)
      for (int c = 0; c < width; c += LANES) {
        sum += load(hidden + (long)e * width + c) * load(last + c);
        store(tile.first + (long)e * width + c, (real)scale * load(last + c));
      }
    step.energies[a] = step.shifts()[step.types[a]] + scale * (double)sum_lanes(sum);
  }
  network_backward(network, step.weights, at.n, tile.slope[N_LAYERS], tile.first, tile.second, tile.row_gradient);
}

// dE/d(argument of the two-body functions) of an edge: lanes to be summed.
static vec along_row(const real* gradient, const real* slope) {
  vec even = vec{}, odd = vec{};
  int c = 0;
  for (; c + LANES < ROW_WIDTH; c += 2 * LANES) {
    even += load(gradient + c) * load(slope + c);
    odd += load(gradient + c + LANES) * load(slope + c + LANES);
  }
  if (c < ROW_WIDTH) even += load(gradient + c) * load(slope + c);
  return even + odd;
}

// From gradients of rows and harmonics to forces and virial.
static void tile_forces(const StepState& step, const EdgeMemory& tile, const EdgeTile& at, const Share& share) {
  const Edges& edges = step.by_centre;
  double virial[9] = {};
  for (int e = 0; e < at.n; e += LANES) {
    const int n = at.n - e < LANES ? at.n - e : LANES;
    alignas(ALIGNMENT) real gradient[N_HARMONICS][LANES], direction[3][LANES], along[LANES];
    vec lanes[LANES];  // those of edges behind the last are of no use, and do no harm
    for (int m = 1; m < N_HARMONICS; m++) {
      for (int i = 0; i < LANES; i++) lanes[i] = load(tile.harmonic_gradient + ((long)(e + i) * N_HARMONICS + m) * LANES);
      store(gradient[m], sums_of_lanes(lanes));
    }
    for (int i = 0; i < LANES; i++) {
      const long row = (long)(e + (i < n ? i : 0)) * ROW_WIDTH;
      lanes[i] = along_row(tile.row_gradient + row, tile.row_slope + row);
    }
    store(along, sums_of_lanes(lanes));
    vec x = vec{}, y = vec{}, z = vec{};
    harmonics_backward(load_unaligned(edges.direction[0] + at.base + e), load_unaligned(edges.direction[1] + at.base + e),
                       load_unaligned(edges.direction[2] + at.base + e), gradient, x, y, z);
    store(direction[0], x);
    store(direction[1], y);
    store(direction[2], z);
    for (int i = 0; i < n; i++) {
      const int edge = at.base + e + i, centre = tile.owner[e + i];
      const double u[3] = {edges.direction[0][edge], edges.direction[1][edge], edges.direction[2][edge]};
      const double h[3] = {direction[0][i], direction[1][i], direction[2][i]}, r = edges.length[edge];
      double radial = (double)along[i] * edges.chain[edge];
      add_repulsion_slope(step, step.types[centre], edges.type[edge], r, radial);
      add_edge_force(radial, h, u, r, share.forces + 3L * centre, share.forces + 3L * edges.other[edge], virial);
    }
  }
  for (int i = 0; i < 9; i++) share.virial[i] += virial[i];
}

}  // namespace
