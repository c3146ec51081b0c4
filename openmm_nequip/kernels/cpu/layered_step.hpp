// The share of one thread in an evaluation of a NequIP model: layer by layer, span by span.
//
// Between two layers all threads wait for each other, because a layer reads the features that the others have made.
//
//     1  edges within the cutoff, their geometry, gradients of edges set to zero       (all wait)
//     2  for k = 0 .. N_LAYERS - 1: forward_span                                       (all wait after each layer)
//     3  for k = N_LAYERS - 1 .. 0: backward_span                                      (all wait after each layer but the last)
//     4  forces of the thread's edges, repulsion
//
// | symbol          | meaning                                                                                           |
// | SPAN_ATOMS      | atoms in a span (model.inc), whose convolution is made in one go                                   |
#pragma once
#include "layers.hpp"
#include "pair_forces.hpp"

namespace {

// Geometry of a share. False if an edge has no length.
bool measure_share(Step& step, const Share& share) {
  bool good = true;
  int next_by_centre = share.from < step.n_atoms ? step.by_centre.row[share.from] : 0;
  int next_by_neighbour = share.from < step.n_atoms ? step.by_neighbour.row[share.from] : 0;
  for (int a = share.from; a < share.to; a++) {
    good = measure_edges(step.by_centre, a, CENTRE, step.positions, share.cell, step.types, step.constants, next_by_centre) &&
           good;
    if (step.incoming == &step.by_neighbour)
      good = measure_edges(step.by_neighbour, a, NEIGHBOUR, step.positions, share.cell, step.types, step.constants,
                           next_by_neighbour) && good;
    Edges& edges = *step.incoming;
    const int first = edges.first[a], count = edges.count[a];
    clear(edges.radial_gradient + first, count);
    for (int d = 0; d < 3; d++) clear(edges.direction_gradient[d] + first, count);
  }
  return good;
}

// Forces and virial of the edges of which an atom is the neighbour.
void add_edge_forces(const Step& step, long atom, double* forces, double* virial) {
  const Edges& edges = *step.incoming;
  double own[3] = {}, parts[6] = {};
  for (int e = edges.first[atom]; e < edges.first[atom] + edges.count[atom]; e++) {
    const double sign = edges.sign, r = edges.length[e];
    const double u[3] = {sign * edges.direction[0][e], sign * edges.direction[1][e], sign * edges.direction[2][e]};
    const double h[3] = {(double)edges.direction_gradient[0][e], (double)edges.direction_gradient[1][e],
                         (double)edges.direction_gradient[2][e]};
    double radial = edges.radial_gradient[e] * edges.chain[e], gradient[3];
    add_repulsion_slope(step, edges.type[e], step.types[atom], r, radial);
    edge_gradient(radial, h, u, r, gradient, parts);
    double* centre = forces + 3 * edges.other[e];
    for (int d = 0; d < 3; d++) {
      centre[d] += gradient[d];
      own[d] -= gradient[d];
    }
  }
  for (int d = 0; d < 3; d++) forces[3 * atom + d] += own[d];
  add_virial(parts, virial);
}

// False if an edge has no length.
bool evaluate_share(Step& step, const Share& share) {
  const auto stop_of = [&share](int start) { return start + SPAN_ATOMS < share.to ? start + SPAN_ATOMS : share.to; };
  const Scratch scratch(step.thread_scratch + (long)share.thread * Scratch::size());
  const bool good = measure_share(step, share);
  step.threads->barrier();
  for (int k = 0; k < N_LAYERS; k++) {
    for (int a = share.from; a < share.to; a += SPAN_ATOMS) forward_span(step, k, a, stop_of(a), scratch, step.energies);
    step.threads->barrier();
  }
  for (int k = N_LAYERS - 1; k >= 0; k--) {
    for (int a = share.from; a < share.to; a += SPAN_ATOMS) backward_span(step, k, a, stop_of(a), scratch);
    if (k) step.threads->barrier();
  }
  for (int a = share.from; a < share.to; a++) {
    add_edge_forces(step, a, share.forces, share.virial);
    add_repulsion(step, a, step.energies[a]);
  }
  return good;
}

}  // namespace
