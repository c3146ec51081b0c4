// Edges of the graph by atom, and their geometry.
//
// An edge leads from a centre i to a neighbour j; s is its shift, whole numbers of cell vectors:
//     v = r_j - r_i + s cell          r = |v|          u = v / r          x = r / cutoff[type i][type j]
// Edges with x >= 1 count for nothing and are left out of the geometry.
//
// Every atom has its edges twice: as centre (forward sums run over them) and as neighbour (backward sums). Where each edge has
// its mirror image, with the same cutoff, the second list is the first with u reversed and is not made.
//
// Memory: candidates lie atom by atom, those of atom a from row[a] to row[a + 1]. The edges within the cutoff lie in all the
// arrays of the geometry from first[a] on, count[a] of them, atom behind atom without gaps for all atoms of a thread; one
// array for each component, so that LANES edges are loaded at once from any edge on.
//
// | symbol           | meaning                                                                                          |
// | `candidate`      | the other atom of a candidate edge: the neighbour in the list by centre, else the centre         |
// | `shift`          | (n, 3) cell vectors of a candidate edge; whole numbers, exact in float                           |
// | `other`, `type`  | the other atom of an edge within the cutoff, and its type                                        |
// | `direction[3]`   | u                                                                                                |
// | `length`         | r                                                                                                |
// | `knot`, `fraction` | place in the tables: x = (knot + fraction) / N_KNOTS                                           |
// | `basis`, `basis_slope` | without tables: the radial basis at x and its derivative, rows of BASIS_WIDTH              |
// | `chain`          | d(argument of the radial network) / dr: N_KNOTS / cutoff with tables, 1 / cutoff without          |
// | `radial_gradient` | dE/d(argument of the radial network), summed over layers                                        |
// | `direction_gradient[3]` | dE/du, summed over layers                                                                 |
// | `sign`           | +1, or -1 where the list by centre also serves as that by neighbour: sign * direction is u of the |
// |                  | edge that leads to the atom                                                                      |
#pragma once
#include <cmath>
#include "memory.hpp"
#include "radial_basis.hpp"
#include "vectors.hpp"

namespace {

// Between these squares of x the square root decides whether an edge is within the cutoff: rounding of the squares may not.
constexpr double WITHIN_CUTOFF = 1.0 - 1e-12, BEYOND_CUTOFF = 1.0 + 1e-12;

struct Edges {
  Array<int> row, candidate, first, count, other, type, knot;
  Array<float> shift;
  Array<real> fraction, basis, basis_slope;
  Array<double> length, chain;
  real *direction[3], *radial_gradient, *direction_gradient[3];
  real sign = 1;

  // Sort candidates by the atom `key`; `value` is the other one. `place` is where an atom of the caller's lies.
  void sort(long n_atoms, long n_edges, const int64_t* key, const int64_t* value, const double* shifts, const int* place) {
    row.make_room(n_atoms + 1);
    candidate.make_room(n_edges);
    shift.make_room(3 * n_edges);
    std::memset(row, 0, (n_atoms + 1) * sizeof(int));
    for (long e = 0; e < n_edges; e++) row[place[key[e]] + 1]++;
    for (long a = 0; a < n_atoms; a++) row[a + 1] += row[a];
    first.make_room(n_atoms);
    count.make_room(n_atoms);
    for (long a = 0; a < n_atoms; a++) count[a] = row[a];
    for (long e = 0; e < n_edges; e++) {
      const int at = count[place[key[e]]]++;
      candidate[at] = place[value[e]];
      for (int d = 0; d < 3; d++) shift[3 * (long)at + d] = (float)shifts[3 * e + d];
    }
  }

  void make_room_for_geometry(long n_edges) {
    other.make_room(n_edges);
    type.make_room(n_edges);
    knot.make_room(n_edges);
    fraction.make_room(n_edges);
    directions.make_room(3 * (n_edges + SPARE));
    for (int d = 0; d < 3; d++) direction[d] = directions + d * (n_edges + SPARE);
    length.make_room(n_edges);
    chain.make_room(n_edges);
#if !TABULATED
    basis.make_room(n_edges * BASIS_WIDTH);
    basis_slope.make_room(n_edges * BASIS_WIDTH);
#endif
  }

  // In the list by neighbour alone.
  void make_room_for_gradients(long n_edges) {
    gradients.make_room(4 * (n_edges + SPARE));
    radial_gradient = gradients;
    for (int d = 0; d < 3; d++) direction_gradient[d] = gradients + (d + 1) * (n_edges + SPARE);
  }

 private:
  Array<real> directions, gradients;
};

// Whether the edges that lead to each atom are those that lead from it, reversed, in the same order.
[[maybe_unused]] static bool are_mirror_images(const Edges& from, const Edges& to, long n_atoms,
                                               const double* reciprocal_cutoffs) {
  for (int a = 0; a < N_TYPES; a++)
    for (int b = 0; b < a; b++)
      if (reciprocal_cutoffs[a * N_TYPES + b] != reciprocal_cutoffs[b * N_TYPES + a]) return false;
  if (std::memcmp(from.row, to.row, (n_atoms + 1) * sizeof(int)) != 0) return false;
  const long n_edges = from.row[n_atoms];
  if (std::memcmp(from.candidate, to.candidate, n_edges * sizeof(int)) != 0) return false;
  for (long q = 0; q < 3 * n_edges; q++)
    if (from.shift[q] != -to.shift[q]) return false;
  return true;
}

enum Role { CENTRE, NEIGHBOUR };

// Geometry of the edges of an atom that are within the cutoff, written from place `next` on, which moves behind them. `role` is
// what the atom is in this list. False if a length is zero or not a number. First candidates become vectors of edges, one by
// one, then all of these are measured, several at once.
static bool measure_edges(Edges& edges, long atom, Role role, const double* positions, const double* cell, const int* types,
                          const double* reciprocal_cutoffs, int& next) {
  constexpr int MOST = 64;
  const double sign = role == CENTRE ? 1.0 : -1.0;
  bool good = true;
  edges.first[atom] = next;
  for (int e = edges.row[atom], stop = edges.row[atom + 1]; e < stop;) {
    double v[3][MOST], square[MOST], reciprocal[MOST];
    int n = 0;
    for (; e < stop && n < MOST; e++) {
      const int other = edges.candidate[e];
      const float* shift = edges.shift + 3 * (long)e;
      for (int d = 0; d < 3; d++)
        v[d][n] = sign * (positions[3 * other + d] - positions[3 * atom + d]) + shift[0] * cell[d] + shift[1] * cell[3 + d] +
                  shift[2] * cell[6 + d];
      reciprocal[n] = role == CENTRE ? reciprocal_cutoffs[types[atom] * N_TYPES + types[other]]
                                     : reciprocal_cutoffs[types[other] * N_TYPES + types[atom]];
      square[n] = v[0][n] * v[0][n] + v[1][n] * v[1][n] + v[2][n] * v[2][n];
      const double x_square = square[n] * (reciprocal[n] * reciprocal[n]);
      if (x_square > BEYOND_CUTOFF) continue;
      if (x_square > WITHIN_CUTOFF && std::sqrt(square[n]) * reciprocal[n] >= 1.0) continue;
      if (!(square[n] > 0)) { good = false; continue; }
      edges.other[next + n] = other;
      edges.type[next + n] = types[other];
      n++;
    }
    double *length = edges.length + next, *chain = edges.chain + next;
    real* direction[3] = {edges.direction[0] + next, edges.direction[1] + next, edges.direction[2] + next};
#pragma GCC ivdep
    for (int i = 0; i < n; i++) {
      length[i] = std::sqrt(square[i]);
      const double reciprocal_length = 1.0 / length[i];
      for (int d = 0; d < 3; d++) direction[d][i] = (real)(v[d][i] * reciprocal_length);
    }
#if TABULATED
    int* knots = edges.knot + next;
    real* fraction = edges.fraction + next;
#pragma GCC ivdep
    for (int i = 0; i < n; i++) {
      const double place = length[i] * reciprocal[i] * N_KNOTS;
      const int knot = (int)place;
      knots[i] = knot < N_KNOTS - 1 ? knot : N_KNOTS - 1;
      fraction[i] = (real)(place - knots[i]);
      chain[i] = reciprocal[i] * N_KNOTS;
    }
#else
    for (int i = 0; i < n; i++) {
      const long at = (long)(next + i) * BASIS_WIDTH;
      const int own = types[atom], other = edges.type[next + i];
      const int pair = role == CENTRE ? own * N_TYPES + other : other * N_TYPES + own;
      radial_basis(length[i] * reciprocal[i], pair, edges.basis + at, edges.basis_slope + at);
      chain[i] = reciprocal[i];
    }
#endif
    next += n;
  }
  edges.count[atom] = next - edges.first[atom];
  return good;
}

}  // namespace
