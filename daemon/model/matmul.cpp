#include "daemon/model/matmul.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include <optional>
#include <string_view>

namespace sidestep::daemon {
namespace {

using Scalars = c10::List<std::optional<at::Scalar>>;
using LinearSignature = at::Tensor(const at::Tensor& input, const at::Tensor& weight,
                                   const std::optional<at::Tensor>& bias, std::string_view activation,
                                   Scalars activation_scalars, std::optional<std::string_view> algorithm);
using Linear = c10::TypedOperatorHandle<LinearSignature>;

// oneDNN's linear layer for dense tensors; nothing in a LibTorch built without it.
std::optional<Linear> find_linear() {
  const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  if (!found || !found->hasKernelForDispatchKey(c10::DispatchKey::CPU)) return std::nullopt;
  return found->typed<LinearSignature>();
}

}  // namespace

at::Tensor multiply(const at::Tensor& a, const at::Tensor& b) {
  static const std::optional<Linear> linear = find_linear();
  if (linear && a.is_cpu() && a.scalar_type() == at::kFloat)
    return linear->call(a, b, std::nullopt, "none", Scalars(), std::nullopt);
  return at::mm(a, b.t());
}

at::Tensor multiply_to(at::ScalarType type, const at::Tensor& a, const at::Tensor& b) {
  if (a.is_cuda() && a.scalar_type() != type) return at::mm(a, b.t(), type);
  return multiply(a, b).to(type);
}

void add_weight_gradient(at::Tensor& sum, const at::Tensor& gradient, const at::Tensor& input) {
  if (!sum.is_cuda())
    sum.add_(multiply(gradient.t(), input.t()));
  else if (sum.scalar_type() == input.scalar_type())
    sum.addmm_(gradient.t(), input);
  else
    at::addmm_out(sum, sum, gradient.t(), input, sum.scalar_type());
}

}  // namespace sidestep::daemon
