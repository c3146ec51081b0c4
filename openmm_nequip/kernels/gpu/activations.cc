// Activations: value and slope at x; the formulas are those of kernels/cpu/activations.hpp. The factor that e3nn puts before
// an activation is not in here.
#define ACTIVATE_identity(x, f, d) { f = (x); d = 1; }
#define ACTIVATE_silu(x, f, d) { const number s_ = 1/(1 + exp(-(x))); f = (x)*s_; d = s_*(1 + (x)*(1 - s_)); }
#define ACTIVATE_tanh(x, f, d) { const number t_ = 1 - 2/(exp(2*(x)) + 1); f = t_; d = 1 - t_*t_; }
#define ACTIVATE_abs(x, f, d) { const number x_ = (x); f = x_ < 0 ? -x_ : x_; d = x_ < 0 ? -1 : (x_ > 0 ? 1 : 0); }
#define ACTIVATE_sigmoid(x, f, d) { const number s_ = 1/(1 + exp(-(x))); f = s_; d = s_*(1 - s_); }
#define SOFTPLUS_(x) ((x) > 0 ? (x) + log(1 + exp(-(x))) : log(1 + exp(x)))
#define ACTIVATE_softplus(x, f, d) { \
  const number x_ = (x); f = x_ > 20 ? x_ : SOFTPLUS_(x_); d = x_ > 20 ? (number) 1 : 1/(1 + exp(-x_)); }
#define ACTIVATE_ssp(x, f, d) { \
  const number x_ = (x); f = SOFTPLUS_(x_) - (number) 0.6931471805599453; d = 1/(1 + exp(-x_)); }
#define ACTIVATE_mish(x, f, d) { \
  const number x_ = (x), t_ = tanh(SOFTPLUS_(x_)); f = x_*t_; d = t_ + x_*(1 - t_*t_)/(1 + exp(-x_)); }
#define ACTIVATE_gelu(x, f, d) { \
  const number x_ = (x), c_ = (number) 0.5*erfc(-x_*(number) 0.7071067811865476); \
  f = x_*c_; d = c_ + x_*(number) 0.3989422804014327*exp(-(number) 0.5*x_*x_); }
