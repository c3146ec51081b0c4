// A graph becomes the kernels' own: atoms in an order of theirs, edges sorted by atom, and memory for all that depends on them.
//
// Atoms are ordered by boxes with sides of about a cutoff, box behind box: what an atom reads of its neighbours then lies close
// together in memory, whatever order the caller has. At 12,288 atoms of water that is a quarter of the time of a step. Where an
// atom reads nothing of its neighbours but their types, atoms of one type lie together instead, for they read the same tables.
//
// Box of an atom: floor(n_d f_d) along each cell vector d, with f_d = (r . m_d / V) modulo 1 its fractional coordinate, m_d the
// cross product of the other two cell vectors, V the volume and n_d = |V| / |m_d| / cutoff boxes along it.
//
// | symbol    | meaning                                                                               |
// | MOST_BOXES | boxes along a cell vector at most: their number in all must fit an int (1024^3 = 2^30) |
// | Answer    | what a call of interface.hpp and simulation.hpp returns; library.py has the same       |
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>
#include "network_step.inc"

namespace {

enum { MOST_BOXES = 1024 };
enum Answer { DONE, OUT_OF_MEMORY, OUT_OF_RANGE, STALE, BAD_POSITIONS, BAD_RESULT };

// For each atom the number of its box.
std::vector<int> boxes_of_atoms(const StepState& step, int64_t n_atoms, const double* positions, const double* cell) {
  double reciprocal = step.constants[0];  // of the largest cutoff
  for (int t = 1; t < N_TYPES * N_TYPES; t++) reciprocal = step.constants[t] < reciprocal ? step.constants[t] : reciprocal;
  double normal[3][3], boxes[3], volume = 0;
  for (int d = 0; d < 3; d++) {
    const double *b = cell + 3 * ((d + 1) % 3), *c = cell + 3 * ((d + 2) % 3);
    for (int i = 0; i < 3; i++) normal[d][i] = b[(i + 1) % 3] * c[(i + 2) % 3] - b[(i + 2) % 3] * c[(i + 1) % 3];
  }
  for (int i = 0; i < 3; i++) volume += cell[i] * normal[0][i];
  for (int d = 0; d < 3; d++) {
    const double* m = normal[d];
    const double count = std::fabs(volume) / std::sqrt(m[0] * m[0] + m[1] * m[1] + m[2] * m[2]) * reciprocal;
    boxes[d] = count >= 1 && count < MOST_BOXES ? std::floor(count) : (count >= MOST_BOXES ? (double)MOST_BOXES : 1.0);
  }
  std::vector<int> box(n_atoms);
  for (int64_t a = 0; a < n_atoms; a++) {
    int at = 0;
    for (int d = 0; d < 3; d++) {
      double f = 0;
      for (int i = 0; i < 3; i++) f += positions[3 * a + i] * normal[d][i];
      f = (f / volume - std::floor(f / volume)) * boxes[d];
      at = at * (int)boxes[d] + (f > 0 && f < boxes[d] ? (int)f : 0);  // an atom without a finite position is in box 0
    }
    box[a] = at;
  }
  return box;
}

void order_atoms(Step& step, int64_t n_atoms, const int64_t* types, const double* positions, const double* cell) {
  step.order.make_room(n_atoms);
  step.place.make_room(n_atoms);
  std::vector<int> key(types, types + n_atoms);
  if (!Step::ORDER_BY_TYPE) key = boxes_of_atoms(step, n_atoms, positions, cell);
  for (int64_t a = 0; a < n_atoms; a++) step.order[a] = (int)a;
  std::stable_sort(step.order + 0, step.order + n_atoms, [&key](int a, int b) { return key[a] < key[b]; });
  for (int64_t a = 0; a < n_atoms; a++) step.place[step.order[a]] = (int)a;
}

// Take the caller's graph: types (n_atoms,), edge_index (2, n_edges) with centres, then neighbours, shifts (n_edges, 3).
Answer set_graph(Step& step, int64_t n_atoms, int64_t n_edges, const int64_t* types, const int64_t* edge_index,
                 const double* shifts, const double* positions, const double* cell) {
  step.forget_edges();
  for (int64_t a = 0; a < n_atoms; a++)
    if (types[a] < 0 || types[a] >= N_TYPES) return OUT_OF_RANGE;
  for (int64_t e = 0; e < 2 * n_edges; e++)
    if (edge_index[e] < 0 || edge_index[e] >= n_atoms) return OUT_OF_RANGE;
  order_atoms(step, n_atoms, types, positions, cell);
  step.types.make_room(n_atoms);
  step.positions.make_room(3 * n_atoms);
  step.energies.make_room(n_atoms);
  for (int64_t a = 0; a < n_atoms; a++) step.types[a] = (int)types[step.order[a]];
  step.take_edges(n_atoms, n_edges, edge_index, edge_index + n_edges, shifts);
  step.n_atoms = n_atoms;
  step.n_edges = n_edges;
  return DONE;
}

}  // namespace
