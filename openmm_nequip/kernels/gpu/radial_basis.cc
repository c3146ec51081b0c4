// Radial basis of every edge at x = r / cutoff and its slope, where radial networks are evaluated: the formulas of
// kernels/cpu/radial_basis.hpp, in OpenMM's mixed precision.
//
// For a whole power p the cutoff is written without differences of large numbers:
//     c(x) = (1 - x)^3 sum over k < p of (k + 1)(k + 2)/2 x^k          c'(x) = -p(p + 1)(p + 2)/2 x^(p - 1) (1 - x)^2
// Arguments of sine and cosine are taken into [-pi, pi] first: devices are exact there alone.

// One thread for each slot: the BASIS functions, then their slopes. `incoming`: by the cutoff of the edge to the node.
KERNEL void radial_basis(int n, int slots, int incoming, GLOBAL const int* RESTRICT count, GLOBAL const int* RESTRICT other,
    GLOBAL const int* RESTRICT types, GLOBAL const int* RESTRICT knot, GLOBAL const mixed* RESTRICT reciprocal_cutoffs,
    GLOBAL const mixed* RESTRICT length, GLOBAL number* RESTRICT basis) {
  const mixed roots[BASIS] = {BASIS_ROOTS};
  const mixed p = CUTOFF_POWER, pi = 3.14159265358979323846;
  for (int s = GLOBAL_ID; s < n*slots; s += GLOBAL_SIZE) {
    const int i = s/slots;
    if (s - i*slots >= count[i] || knot[s] < 0) continue;
    const int own = types[i], neighbour = types[other[s]];
    const mixed x = length[s]*reciprocal_cutoffs[incoming ? neighbour*TYPES + own : own*TYPES + neighbour], rest = 1 - x;
#if WHOLE_POWER
    mixed cut = 0, top = 1;
    for (int k = 0; k < WHOLE_POWER; k++) {
      cut += (k + 1)*(k + 2)/2*top;
      if (k + 1 < WHOLE_POWER) top *= x;
    }
    cut *= rest*rest*rest;
#else
    const mixed top = pow(x, p - 1);
    const mixed cut = 1 - top*x*((p + 1)*(p + 2)/2 - x*(p*(p + 2) - x*p*(p + 1)/2));
#endif
    const mixed cut_slope = -p*(p + 1)*(p + 2)/2*top*rest*rest, over = 1/(pi*x);
    for (int k = 0; k < BASIS; k++) {
      mixed turns = roots[k]*x;
      turns -= 2*floor(turns/2 + (mixed) 0.5);
      const mixed value = sin(pi*turns)*over, slope = (roots[k]*cos(pi*turns) - value)/x;
      basis[(mm_long) s*2*BASIS + k] = (mixed) BASIS_FACTOR*value*cut;
      basis[(mm_long) s*2*BASIS + BASIS + k] = (mixed) BASIS_FACTOR*(slope*cut + value*cut_slope);
    }
  }
}
