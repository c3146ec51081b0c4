// From gradients of edges to forces and virial, and the screened nuclear repulsion of pairs.
//
// An edge with u, r (edges.hpp) and the gradients q = dE/dr and h = dE/du contributes, with its vector v = r u,
//     dE/dv = q u + (h - (h . u) u) / r
//     force on the neighbour -= dE/dv        force on the centre += dE/dv
//     virial -= r (dE/dv u^T + u dE/dv^T) / 2
// q is the gradient of the argument of the radial functions times `chain`, plus that of the repulsion.
//
// Repulsion (Ziegler, Biersack and Littmark), of each direction of an edge:
//     V(r) = REPULSION_FACTOR z_i z_j / r  psi(r)  c(r / cutoff)
//     psi(r) = sum over n of a_n exp(-b_n s r)        s = (z_i^0.23 + z_j^0.23) / 0.46850 (in 1/Å)
// c is the polynomial cutoff of radial_basis.hpp with p = REPULSION_POWER.
//
// References: J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids, Pergamon, 1985.
#pragma once
#include "step_state.hpp"

namespace {

#if REPULSION
// V and its derivative.
double repulsion(double z_centre, double z_neighbour, double r, double reciprocal_cutoff, double& slope) {
  static const double a[] = {0.02817, 0.28022, 0.50986, 0.18175}, minus_b[] = {-0.20162, -0.40290, -0.94229, -3.19980};
  const double scale = (std::pow(z_centre, 0.23) + std::pow(z_neighbour, 0.23)) / 0.46850, p = REPULSION_POWER;
  const double x = r * reciprocal_cutoff;
  double psi = 0, psi_slope = 0;
  for (int n = 0; n < 4; n++) {
    const double term = a[n] * std::exp(minus_b[n] * scale * r);
    psi += term;
    psi_slope += minus_b[n] * scale * term;
  }
  const double c0 = (p + 1) * (p + 2) / 2, c1 = p * (p + 2), c2 = p * (p + 1) / 2, top = std::pow(x, p - 1);
  const double cut = 1 - top * x * (c0 - x * (c1 - x * c2));
  const double cut_slope = -top * (c0 * p - x * (c1 * (p + 1) - x * c2 * (p + 2))) * reciprocal_cutoff;
  const double coulomb = REPULSION_FACTOR * z_centre * z_neighbour / r;
  slope = coulomb * (psi_slope * cut + psi * cut_slope - psi * cut / r);
  return coulomb * psi * cut;
}

double repulsion_of(const StepState& step, int centre_type, int neighbour_type, double r, double& slope) {
  return repulsion(step.charges()[centre_type], step.charges()[neighbour_type], r,
                   step.reciprocal_cutoff(centre_type, neighbour_type), slope);
}
#endif

// Add the slope of the repulsion of an edge to dE/dr; nothing without one.
INLINE void add_repulsion_slope(const StepState& step, int centre_type, int neighbour_type, double r, double& radial) {
#if REPULSION
  double slope;
  repulsion_of(step, centre_type, neighbour_type, r, slope);
  radial += slope;
#endif
}

// dE/dv of edges with dE/dr = `radial` and dE/du = h, one in each lane, and what they add to the virial: its parts (a, b <= a)
// row by row.
INLINE void edge_gradient(const wide& radial, const wide* h, const wide* u, const wide& r, wide* gradient, wide* virial) {
  const wide along = h[0] * u[0] + h[1] * u[1] + h[2] * u[2], reciprocal_length = 1.0 / r;
  for (int d = 0; d < 3; d++) gradient[d] = radial * u[d] + (h[d] - along * u[d]) * reciprocal_length;
  for (int a = 0, part = 0; a < 3; a++)
    for (int b = 0; b <= a; b++, part++) virial[part] -= 0.5 * r * (gradient[a] * u[b] + gradient[b] * u[a]);
}

// Add the parts of all lanes to a virial.
INLINE void add_virial(const wide* parts, double* virial) {
  for (int a = 0, part = 0; a < 3; a++)
    for (int b = 0; b <= a; b++, part++) {
      double sum = 0;
      for (int i = 0; i < LANES; i++) sum += parts[part][i];
      virial[3 * a + b] += sum;
      if (a != b) virial[3 * b + a] += sum;
    }
}

// Add the repulsion of the edges of which an atom is the centre to its energy; nothing without one.
void add_repulsion(const StepState& step, long atom, double& energy) {
#if REPULSION
  const Edges& edges = step.by_centre;
  for (int e = edges.first[atom]; e < edges.first[atom] + edges.count[atom]; e++) {
    double slope;
    energy += repulsion_of(step, step.types[atom], edges.type[e], edges.length[e], slope);
  }
#endif
}

}  // namespace
