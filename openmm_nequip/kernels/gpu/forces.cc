// From gradients of edges to forces on sites and energies, into OpenMM's buffers.
//
// The gradient at a slot of node i is that of the edge from the other node to i (edge_loops.py); that of the edge from i to the
// other node is at the mirror image of the slot. An edge with direction u (from its centre to its neighbour), length r,
// dE/d(radial argument) = p and dE/du = h has with v = r u
//     dE/dv = (p KNOTS/cutoff + V') u + (h - (h . u) u)/r          force on the neighbour -= dE/dv, on the centre += dE/dv
// V is the screened nuclear repulsion of kernels/cpu/pair_forces.hpp. The force F on a cap at distance d from q on the line to m,
// with v from q to m and u = v/|v|, goes on to m with d/|v| (F - (F . u) u), and what remains to q.

#if REPULSION
DEVICE mixed repulsion(mixed z_centre, mixed z_neighbour, mixed r, mixed reciprocal_cutoff, mixed* slope) {
  const mixed scale = (pow(z_centre, (mixed) 0.23) + pow(z_neighbour, (mixed) 0.23))/(mixed) 0.46850;
  const mixed p = REPULSION_POWER, x = r*reciprocal_cutoff;
  const mixed a[4] = {0.02817, 0.28022, 0.50986, 0.18175}, b[4] = {-0.20162, -0.40290, -0.94229, -3.19980};
  mixed psi = 0, psi_slope = 0;
  for (int n = 0; n < 4; n++) {
    const mixed term = a[n]*exp(b[n]*scale*r);
    psi += term;
    psi_slope += b[n]*scale*term;
  }
  const mixed c0 = (p + 1)*(p + 2)/2, c1 = p*(p + 2), c2 = p*(p + 1)/2, top = pow(x, p - 1);
  const mixed cut = 1 - top*x*(c0 - x*(c1 - x*c2));
  const mixed cut_slope = -top*(c0*p - x*(c1*(p + 1) - x*c2*(p + 2)))*reciprocal_cutoff;
  const mixed coulomb = (mixed) REPULSION_FACTOR*z_centre*z_neighbour/r;
  *slope = coulomb*(psi_slope*cut + psi*cut_slope - psi*cut/r);
  return coulomb*psi*cut;
}
#endif

// dE/dv of the edge whose gradients are at a slot of the node of type `own`; its centre is the other node.
DEVICE void edge_gradient_at(int s, int own, int centre, GLOBAL const mixed* RESTRICT reciprocal_cutoffs,
    GLOBAL const mixed* RESTRICT charges, GLOBAL const number* RESTRICT unit, GLOBAL const mixed* RESTRICT length,
    GLOBAL const number* RESTRICT radial_gradient, GLOBAL const number* RESTRICT unit_gradient, mixed* gradient) {
  const mixed x = -unit[3*s], y = -unit[3*s+1], z = -unit[3*s+2], r = length[s];
  const mixed hx = unit_gradient[3*s], hy = unit_gradient[3*s+1], hz = unit_gradient[3*s+2];
  const mixed along = hx*x + hy*y + hz*z, reciprocal = reciprocal_cutoffs[centre*TYPES + own];
  mixed radial = radial_gradient[s]*reciprocal*KNOTS;
#if REPULSION
  mixed slope;
  repulsion(charges[centre], charges[own], r, reciprocal, &slope);
  radial += slope;
#endif
  gradient[0] = radial*x + (hx - along*x)/r;
  gradient[1] = radial*y + (hy - along*y)/r;
  gradient[2] = radial*z + (hz - along*z)/r;
}

// Force on a node, in the model's units.
DEVICE void node_force(int i, int slots, GLOBAL const int* RESTRICT count, GLOBAL const int* RESTRICT other,
    GLOBAL const int* RESTRICT mirror, GLOBAL const int* RESTRICT types, GLOBAL const int* RESTRICT knot_in,
    GLOBAL const mixed* RESTRICT reciprocal_cutoffs, GLOBAL const mixed* RESTRICT charges, GLOBAL const number* RESTRICT unit,
    GLOBAL const mixed* RESTRICT length, GLOBAL const number* RESTRICT radial_gradient,
    GLOBAL const number* RESTRICT unit_gradient, mixed* force) {
  force[0] = force[1] = force[2] = 0;
  for (int s = i*slots; s < i*slots + count[i]; s++) {
    const int j = other[s], back = mirror[s];
    mixed gradient[3];
    if (knot_in[s] >= 0) {
      edge_gradient_at(s, types[i], types[j], reciprocal_cutoffs, charges, unit, length, radial_gradient, unit_gradient,
                       gradient);
      for (int d = 0; d < 3; d++) force[d] -= gradient[d];
    }
    if (knot_in[back] >= 0) {
      edge_gradient_at(back, types[j], types[i], reciprocal_cutoffs, charges, unit, length, radial_gradient, unit_gradient,
                       gradient);
      for (int d = 0; d < 3; d++) force[d] += gradient[d];
    }
  }
}

// Energy of a node without the shift of its type: what the network gives, and the repulsion of its edges.
DEVICE mixed node_energy(int i, int slots, GLOBAL const int* RESTRICT count, GLOBAL const int* RESTRICT other,
    GLOBAL const int* RESTRICT types, GLOBAL const int* RESTRICT knot, GLOBAL const mixed* RESTRICT reciprocal_cutoffs,
    GLOBAL const mixed* RESTRICT charges, GLOBAL const mixed* RESTRICT length, GLOBAL const mixed* RESTRICT energies) {
  mixed energy = energies[i];
#if REPULSION
  for (int s = i*slots; s < i*slots + count[i]; s++)
    if (knot[s] >= 0) {
      mixed slope;
      const int own = types[i], neighbour = types[other[s]];
      energy += repulsion(charges[own], charges[neighbour], length[s], reciprocal_cutoffs[own*TYPES + neighbour], &slope);
    }
#endif
  return energy;
}

// Forces of sites and energies of nodes, one thread each. caps_from[s] to caps_from[s + 1] are the entries of cap_list that
// concern site s: 2 c where cap c is bonded to it, 2 c + 1 where the cap stands for it.
KERNEL void give(int n_sites, int n_atoms, int n, int slots, int padded, int with_forces, GLOBAL const int* RESTRICT count,
    GLOBAL const int* RESTRICT other, GLOBAL const int* RESTRICT mirror, GLOBAL const int* RESTRICT types,
    GLOBAL const int* RESTRICT knot, GLOBAL const int* RESTRICT knot_in, GLOBAL const mixed* RESTRICT reciprocal_cutoffs,
    GLOBAL const mixed* RESTRICT charges, GLOBAL const number* RESTRICT unit, GLOBAL const mixed* RESTRICT length,
    GLOBAL const number* RESTRICT radial_gradient, GLOBAL const number* RESTRICT unit_gradient,
    GLOBAL const int* RESTRICT caps_from, GLOBAL const int* RESTRICT cap_list, GLOBAL const int* RESTRICT cap_q,
    GLOBAL const int* RESTRICT cap_m, GLOBAL const mixed* RESTRICT cap_distance, GLOBAL const mixed* RESTRICT sites,
    GLOBAL const mixed* RESTRICT frame, GLOBAL const int* RESTRICT grid, GLOBAL const int* RESTRICT place_of,
    GLOBAL const mixed* RESTRICT energies, GLOBAL mm_ulong* RESTRICT force_buffers, GLOBAL mixed* RESTRICT energy_buffer,
    GLOBAL int* RESTRICT state) {
  if (with_forces)
    for (int s = GLOBAL_ID; s < n_sites; s += GLOBAL_SIZE) {
      mixed force[3] = {0, 0, 0};
      if (s < n_atoms)
        node_force(s, slots, count, other, mirror, types, knot_in, reciprocal_cutoffs, charges, unit, length, radial_gradient,
                   unit_gradient, force);
      for (int entry = caps_from[s]; entry < caps_from[s + 1]; entry++) {
        const int c = cap_list[entry]/2, on_m = cap_list[entry]%2;
        mixed bond[3], pull[3];
        node_force(n_atoms + c, slots, count, other, mirror, types, knot_in, reciprocal_cutoffs, charges, unit, length,
                   radial_gradient, unit_gradient, pull);
        cut_bond(cap_q[c], cap_m[c], sites, frame, grid, bond);
        const mixed square = bond[0]*bond[0] + bond[1]*bond[1] + bond[2]*bond[2];
        const mixed along = (pull[0]*bond[0] + pull[1]*bond[1] + pull[2]*bond[2])/square;
        const mixed part = cap_distance[c]/sqrt(square);
        for (int d = 0; d < 3; d++) {
          const mixed passed = part*(pull[d] - along*bond[d]);
          force[d] += on_m ? passed : pull[d] - passed;
        }
      }
      const int a = place_of[s];
      for (int d = 0; d < 3; d++)
        ATOMIC_ADD(&force_buffers[a + d*padded], (mm_ulong) ((mm_long) (force[d]*frame[15]*0x100000000)));
    }
  mixed total = 0;
  for (int i = GLOBAL_ID; i < n; i += GLOBAL_SIZE)
    total += node_energy(i, slots, count, other, types, knot, reciprocal_cutoffs, charges, length, energies);
  energy_buffer[GLOBAL_ID] += total*frame[16];
  if (GLOBAL_ID == 0) state[0] = state[1] = 0;
}

// What is asked for beside the step, in the model's units, one thread a node: energies without shifts, forces (three each), and
// virials (six: xx, yx, yy, zx, zy, zz), which are -1/2 (v dE/dv^T + dE/dv v^T) of the edges that lead to the node.
KERNEL void tell(int n, int slots, GLOBAL const int* RESTRICT count, GLOBAL const int* RESTRICT other,
    GLOBAL const int* RESTRICT mirror, GLOBAL const int* RESTRICT types, GLOBAL const int* RESTRICT knot,
    GLOBAL const int* RESTRICT knot_in, GLOBAL const mixed* RESTRICT reciprocal_cutoffs, GLOBAL const mixed* RESTRICT charges,
    GLOBAL const number* RESTRICT unit, GLOBAL const mixed* RESTRICT length, GLOBAL const number* RESTRICT radial_gradient,
    GLOBAL const number* RESTRICT unit_gradient, GLOBAL const mixed* RESTRICT energies, GLOBAL mixed* RESTRICT told,
    GLOBAL int* RESTRICT state) {
  for (int i = GLOBAL_ID; i < n; i += GLOBAL_SIZE) {
    mixed force[3], virial[6] = {0, 0, 0, 0, 0, 0};
    node_force(i, slots, count, other, mirror, types, knot_in, reciprocal_cutoffs, charges, unit, length, radial_gradient,
               unit_gradient, force);
    for (int s = i*slots; s < i*slots + count[i]; s++)
      if (knot_in[s] >= 0) {
        mixed gradient[3];
        edge_gradient_at(s, types[i], types[other[s]], reciprocal_cutoffs, charges, unit, length, radial_gradient,
                         unit_gradient, gradient);
        for (int a = 0, at = 0; a < 3; a++)
          for (int b = 0; b <= a; b++, at++)
            virial[at] += (mixed) 0.5*length[s]*(unit[3*s+a]*gradient[b] + unit[3*s+b]*gradient[a]);
      }
    told[10*i] = node_energy(i, slots, count, other, types, knot, reciprocal_cutoffs, charges, length, energies);
    for (int d = 0; d < 3; d++) told[10*i + 1 + d] = force[d];
    for (int d = 0; d < 6; d++) told[10*i + 4 + d] = virial[d];
  }
  if (GLOBAL_ID == 0) state[0] = state[1] = 0;
}
