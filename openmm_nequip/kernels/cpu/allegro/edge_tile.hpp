// The edges of a few atoms, a tile: their harmonics, the readout of their energies, and from gradients to forces.
//
// The formulas are those of edgewise_step.hpp and mixing_step.hpp. A tile needs nothing of other tiles, so its rows stay in the
// cache from the distances to the forces.
//
// | symbol       | meaning                                                                                              |
// | `EdgeTile`   | atoms start .. stop - 1 of the step; their edges are those from `base` on in `by_centre`, n of them   |
// | READOUT_LAST | the last matrix of the readout, which gives a number (model.inc)                                      |
// | PAIR_SCALES  | whether the energy of an edge has a factor of the types of its atoms (model.inc)                      |
#pragma once
#include "edge_memory.hpp"
#include "environment.hpp"
#include "pair_forces.hpp"
#include "two_body.hpp"

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

// Lanes behind the last edge of a tile: vectors without direction, which give no force.
static void pad_tile(const Edges& edges, const EdgeTile& at) {
  for (int e = at.base + at.n; e < at.base + at.n + LANES; e++) {
    for (int d = 0; d < 3; d++) edges.direction[d][e] = 0;
    edges.length[e] = 1;
    edges.chain[e] = 0;
  }
}

// What an atom has without edges; then owners, harmonics and two-body rows of the edges. False where there are none.
static bool begin_tile(StepState& step, const EdgeMemory& tile, const EdgeTile& at) {
  for (int a = at.start; a < at.stop; a++) step.energies[a] = step.shifts()[step.types[a]];
  if (at.n == 0) return false;
  for (int a = at.start; a < at.stop; a++) {
    const Star star = at.star(step.by_centre, tile, a);
    for (int e = star.from; e < star.to; e++) tile.owner[e] = a;
  }
  pad_tile(step.by_centre, at);
  tile_harmonics(step, tile, at);
  two_body(step, tile, at.base, at.n);
  return true;
}

// Energies of the atoms, and the gradient of the inputs of the readout, which goes into `rows`. With ALONG, `along` begins
// with it.
template <bool ALONG>
static void readout_both(StepState& step, const EdgeMemory& tile, const EdgeTile& at, real* rows) {
  const EdgeNetwork& network = NETWORKS[N_LAYERS];
  network_forward<READOUT_ACTIVATION>(network, step.weights, at.n, tile.row, tile.value[N_LAYERS], tile.slope[N_LAYERS],
                                      tile.first);
  const int width = last_width(N_LAYERS);
  const real *hidden = tile.value[N_LAYERS][network.n_hidden - 1], *last = step.weights + READOUT_LAST;
#if PAIR_SCALES
  const double* pair_scales = step.charges() + (REPULSION ? N_TYPES : 0) + N_LAYERS * N_TYPES;  // behind the norms of layers
#endif
  for (int a = at.start; a < at.stop; a++) {
    const Star star = at.star(step.by_centre, tile, a);
    const double scale = step.scales()[step.types[a]];
    vec sum = vec{};
    for (int e = star.from; e < star.to; e++) {
      real own = 1;
#if PAIR_SCALES
      own = (real)pair_scales[step.types[a] * N_TYPES + step.by_centre.type[at.base + e]];
#endif
      for (int c = 0; c < width; c += LANES) {
        const vec weight = own * load(last + c);
        sum += load(hidden + (long)e * width + c) * weight;
        store(tile.first + (long)e * width + c, (real)scale * weight);
      }
    }
    step.energies[a] = step.shifts()[step.types[a]] + scale * (double)sum_lanes(sum);
  }
  if (ALONG) clear(tile.along, (long)at.n * LANES);
  network_backward<ALONG>(network, step.weights, at.n, tile.slope[N_LAYERS], tile.first, tile.second, rows, tile.row_slope,
                          tile.along);
}

// From gradients of rows and harmonics to forces and virial, LANES edges at once.
static void tile_forces(const StepState& step, const EdgeMemory& tile, const EdgeTile& at, const Share& share) {
  const Edges& edges = step.by_centre;
  wide virial[6] = {};
  int owner = at.start;
  double own[3] = {};  // gradient of the atom `owner`
  const auto give = [&] {
    for (int d = 0; d < 3; d++) share.forces[3L * owner + d] += own[d];
  };
  for (int e = 0; e < at.n; e += LANES) {
    const int n = at.n - e < LANES ? at.n - e : LANES, edge = at.base + e;
    alignas(ALIGNMENT) real gradient[N_HARMONICS][LANES], along[LANES], direction[3][LANES];
    vec lanes[LANES];  // those of edges behind the last are of no use, and do no harm
    for (int m = 1; m < N_HARMONICS; m++) {
      const real* from = tile.harmonic_gradient + ((long)e * (N_HARMONICS - 1) + m - 1) * LANES;
      for (int i = 0; i < LANES; i++) lanes[i] = load(from + (long)i * (N_HARMONICS - 1) * LANES);
      store(gradient[m], sums_of_lanes(lanes));
    }
    for (int i = 0; i < LANES; i++) lanes[i] = load(tile.along + (long)(e + i) * LANES);
    store(along, sums_of_lanes(lanes));
    vec u[3], h[3] = {};
    for (int d = 0; d < 3; d++) u[d] = load_unaligned(edges.direction[d] + edge);
    harmonics_backward(u[0], u[1], u[2], gradient, h[0], h[1], h[2]);
    for (int d = 0; d < 3; d++) store(direction[d], h[d]);
    for (int i = n; i < LANES; i++) along[i] = direction[0][i] = direction[1][i] = direction[2][i] = 0;
    const wide r = load_wide(edges.length + edge);
    wide radial = widened(load(along)) * load_wide(edges.chain + edge);
#if REPULSION
    for (int i = 0; i < n; i++) {
      double slope = 0;
      add_repulsion_slope(step, step.types[tile.owner[e + i]], edges.type[edge + i], r[i], slope);
      radial[i] += slope;
    }
#endif
    wide wide_u[3], wide_h[3], force[3];
    for (int d = 0; d < 3; d++) {
      wide_u[d] = widened(u[d]);
      wide_h[d] = widened(load(direction[d]));
    }
    edge_gradient(radial, wide_h, wide_u, r, force, virial);
    alignas(ALIGNMENT) double each[3][LANES];
    for (int d = 0; d < 3; d++) std::memcpy(each[d], &force[d], sizeof each[d]);
    for (int i = 0; i < n; i++) {
      if (tile.owner[e + i] != owner) {
        give();
        owner = tile.owner[e + i];
        own[0] = own[1] = own[2] = 0;
      }
      double* neighbour = share.forces + 3L * edges.other[edge + i];
      for (int d = 0; d < 3; d++) {
        neighbour[d] -= each[d][i];
        own[d] += each[d][i];
      }
    }
  }
  give();
  add_virial(virial, share.virial);
}

}  // namespace
