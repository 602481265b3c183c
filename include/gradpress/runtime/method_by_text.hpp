// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A text in the place of a driver's compressor. Every composition is instantiated once, in the reducer, and not once an
/// optimizer.

#include <gradpress/optimizer/driver.hpp>
#include <gradpress/runtime/any_reducer.hpp>

namespace gradpress {

/// A method that a reducer reads, for a driver over that reducer, which must outlive it:
///
///     auto driver = gp::train_with(reducer, gp::def{}, gp::method_by_text{reducer, "top_k(0.01) | error_feedback"});
///
/// Throws `configuration_error` as the reducer does, and where the method does not suit the optimizer.
template <class Exec, class Catalogue = default_catalogue>
class method_by_text {
 public:
  using over = any_reducer<Exec, Catalogue>;

 private:
  over* reducer_;
  std::string text_;

 public:
  method_by_text(over& reducer, std::string_view text) : reducer_(&reducer), text_(detail::trim(text)) {
    over::with_method(text_, [](auto const&) {});  // a bad text is refused here
  }

  [[nodiscard]] bool lossless() const {
    bool it_is = false;
    over::with_method(text_, [&]<class C>(C const&) { it_is = detail::is_lossless<C>; });
    return it_is;
  }
  /// Throws unless it has the memory that M needs.
  template <class M>
  void check_for(M const& optimizer) const {
    over::with_method(text_, [&](auto const& c) { check(optimizer, c); });
  }
  typename over::tensor add(std::string name, shape dims) const {
    return reducer_->add(std::move(name), dims.rows, dims.cols, text_);
  }

 private:
  template <class M, class C>
  void check(M const& optimizer, C const& method) const {
    constexpr auto need = detail::need_of<M>();
    if constexpr (!detail::meets<C>(need))
      throw configuration_error("gradpress: rank " + std::to_string(reducer_->rank()) + ": " + std::string(M::name) +
                                sentence(need) + "; its text is \"" + text_ + '"');
    else if constexpr (!detail::is_lossless<C> && requires { optimizer.check_memory(method.feedback); })
      optimizer.check_memory(method.feedback);
  }
  static char const* sentence(memory_need need) {
    switch (need) {
      case memory_need::residual:
        return " is built on what was not delivered; compose its compressor with error_feedback, or leave the "
               "parameter \"dense\"";
      case memory_need::momentum:
        return " leaves the momentum to the compressor's memory; compose its compressor with momentum_correction, or "
               "leave the parameter \"dense\"";
      case memory_need::none:
        return " keeps the estimate of the gradient itself; compose its compressor without a feedback";
      case memory_need::any:
        break;
    }
    return "";
  }
};

}  // namespace gradpress
