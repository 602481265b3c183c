// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A driver whose optimizer and compressors are text: for command lines and configuration files. Opt-in, because it
/// instantiates every optimizer, and every composition, that a text may name.
///
///     text = optimizer "|" method [ ";" method ]            method: as `any_reducer` reads it

#include <gradpress/optimizer/cser.hpp>
#include <gradpress/optimizer/def.hpp>
#include <gradpress/optimizer/def_a.hpp>
#include <gradpress/optimizer/dgc.hpp>
#include <gradpress/optimizer/dist_ef_sgd.hpp>
#include <gradpress/optimizer/marina.hpp>
#include <gradpress/optimizer/saef.hpp>
#include <gradpress/optimizer/sgd.hpp>
#include <gradpress/optimizer/signum.hpp>
#include <gradpress/runtime/method_by_text.hpp>

namespace gradpress {

/// Optimizers that a text may name.
template <class... M>
struct optimizers {};

/// What `any_driver` knows unless told otherwise.
struct default_optimizers : optimizers<sgd, def, def_a, saef, cser, dist_ef_sgd, dgc, marina, signum> {};

namespace detail {
/// A driver, its type forgotten.
template <class Exec>
struct erased_driver {
  using methods = std::vector<std::string>;  // one a compressor; none: as the driver was told
  virtual ~erased_driver() = default;
  virtual std::size_t add(std::string name, shape dims, std::span<float> values, methods const& own) = 0;
  virtual gradient_request next() = 0;
  virtual void stage(std::size_t p, std::span<float> gradient) = 0;
  virtual bool take() = 0;
  virtual void model() = 0;
  virtual void undo() = 0;
  virtual void skip() = 0;
  virtual void set(std::string_view knob, std::string_view value) = 0;
  virtual void follow(std::string_view knob, std::function<double(std::uint64_t)> schedule) = 0;
  virtual void save(std::ostream& to) = 0;
  virtual void load(std::istream& from) = 0;
  virtual typename reducer<Exec>::tensor tensor(std::size_t p, channel by) const = 0;
  virtual std::uint64_t step() const = 0;
  virtual std::string method() const = 0;
  virtual std::string_view name() const = 0;
  virtual std::size_t compressors() const = 0;
};

/// Compressor number I of an optimizer is a Text, whatever I is.
template <class Exec, class M, class Text, class Numbers = std::make_index_sequence<compressors_of<M>()>>
class driver_of;
template <class Exec, class M, class Text, std::size_t... I>
class driver_of<Exec, M, Text, std::index_sequence<I...>> final : public erased_driver<Exec> {
  template <std::size_t>
  using text_number = Text;
  using trained = driver<Exec, M, text_number<I>...>;
  using parameter = typename trained::parameter;
  using methods = typename erased_driver<Exec>::methods;
  using over = typename Text::over;

  over* reducer_;
  trained driver_;

 public:
  driver_of(over& r, M const& m, methods const& by) : reducer_(&r), driver_(r, m, Text(r, by[I])...) {
    (Text(r, by[I]).check_for(m), ...);
  }

  std::size_t add(std::string name, shape dims, std::span<float> values, methods const& own) override {
    if (own.empty()) return driver_.add(std::move(name), dims, values).index;
    return driver_.add(std::move(name), dims, values, Text(*reducer_, own[I])...).index;
  }
  gradient_request next() override { return driver_.next(); }
  void stage(std::size_t p, std::span<float> gradient) override { driver_.stage(parameter{p}, gradient); }
  bool take() override { return driver_.take(); }
  void model() override { driver_.model(); }
  void undo() override { driver_.undo(); }
  void skip() override { driver_.skip(); }
  void set(std::string_view knob, std::string_view value) override { driver_.set(knob, value); }
  void follow(std::string_view knob, std::function<double(std::uint64_t)> schedule) override {
    driver_.follow(knob, std::move(schedule));
  }
  void save(std::ostream& to) override { driver_.save(to); }
  void load(std::istream& from) override { driver_.load(from); }
  typename reducer<Exec>::tensor tensor(std::size_t p, channel by) const override {
    return driver_.tensor(parameter{p}, by);
  }
  std::uint64_t step() const override { return driver_.step(); }
  std::string method() const override { return describe(driver_.method()); }
  std::string_view name() const override { return M::name; }
  std::size_t compressors() const override { return sizeof...(I); }
};
}  // namespace detail

/// Trains the parameters of one rank as a text says: the first policy is the optimizer, the others are the method by
/// which gradients travel, two methods for `cser`.
///
///     gp::any_reducer reducer{exec, comm, "dense"};
///     gp::any_driver driver{reducer, "def(learning_rate=0.1, lambda=0.3) | random_block(0.01) | error_feedback"};
///     auto w = driver.add("fc1.weight", {256, 64}, std::span(weights));     // by the text above
///     auto b = driver.add("fc1.bias", {256}, std::span(bias), "dense");     // by its own
///
/// The loop, its errors and its numbers are those of `driver`, and so are checkpoints: either reads the other's. Throws
/// `configuration_error` for a malformed text, an unknown optimizer, policy or knob, and a method that does not suit the
/// optimizer, naming what there is. More optimizers and compositions: `any_driver<Exec, catalogue<...>,
/// optimizers<...>>`. A virtual call each.
template <class Exec, class Catalogue = default_catalogue, class Optimizers = default_optimizers>
class any_driver {
  using over = any_reducer<Exec, Catalogue>;
  using text_method = method_by_text<Exec, Catalogue>;
  using methods = std::vector<std::string>;

  over* reducer_;
  std::unique_ptr<detail::erased_driver<Exec>> driver_;

 public:
  /// Names a parameter of one driver.
  struct parameter {
    std::size_t index = 0;
  };

  any_driver(over& reducer, std::string_view text) : reducer_(&reducer) {
    auto const bar = text.find('|');
    auto const first = detail::parse_policy(text, detail::trim(text.substr(0, bar)));
    search(Optimizers{}, text, first, bar == std::string_view::npos ? std::string_view() : text.substr(bar + 1));
  }

  /// A parameter, compressed as the driver was told; or by a method of its own, two for `cser`. "dense" stands for both.
  parameter add(std::string name, shape dims, std::span<float> values) {
    return {driver_->add(std::move(name), dims, values, {})};
  }
  parameter add(std::string name, shape dims, std::span<float> values, std::string_view own) {
    return {driver_->add(std::move(name), dims, values, split(own, driver_->name(), driver_->compressors()))};
  }
  template <class... V, class... Own>
  parameter add(std::string name, shape dims, Kokkos::View<V...> const& values, Own const&... own) {
    static_assert(std::is_same_v<typename Kokkos::View<V...>::value_type, float>,
                  "any_driver::add: the view must hold float, and not const.");
    if (!values.span_is_contiguous())
      throw configuration_error("gradpress: rank " + std::to_string(reducer_->rank()) + ": parameter '" + name +
                                "' is a view that is not contiguous");
    return add(std::move(name), dims, std::span<float>(values.data(), values.size()), own...);
  }

  gradient_request next() { return driver_->next(); }
  void stage(parameter p, std::span<float> gradient) { driver_->stage(p.index, gradient); }
  template <class... V>
  void stage(parameter p, Kokkos::View<V...> const& gradient) {
    static_assert(std::is_same_v<typename Kokkos::View<V...>::value_type, float>,
                  "any_driver::stage: the view must hold float, and not const.");
    stage(p, gradient.span_is_contiguous() ? std::span<float>(gradient.data(), gradient.size()) : std::span<float>());
  }
  bool take() { return driver_->take(); }
  void model() { driver_->model(); }
  void undo() { driver_->undo(); }
  void skip() { driver_->skip(); }
  void set(std::string_view knob, double value) { set(knob, number_text(value)); }
  void set(std::string_view knob, std::string_view value) { driver_->set(knob, value); }
  template <class S>
  requires(explain_schedule<S>()) void follow(std::string_view knob, S schedule) {
    if constexpr (requires { schedule.check(); }) schedule.check();
    driver_->follow(knob, std::move(schedule));
  }
  void save(std::ostream& to) { driver_->save(to); }
  void load(std::istream& from) { driver_->load(from); }
  [[nodiscard]] typename reducer<Exec>::tensor tensor(parameter p, channel by = channel::first) const {
    return driver_->tensor(p.index, by);
  }
  [[nodiscard]] std::uint64_t step() const { return driver_->step(); }
  /// The optimizer, with its knobs as they are now: "sgd(learning_rate=0.1,momentum=0.9,...)".
  [[nodiscard]] std::string method() const { return driver_->method(); }

 private:
  template <class... M>
  void search(optimizers<M...>, std::string_view text, policy_text const& first, std::string_view rest) {
    if ((try_one<M>(text, first, rest) || ...)) return;
    std::string known;
    ((known += (known.empty() ? "" : ", ") + std::string(M::name)), ...);
    throw configuration_error("gradpress: the text \"" + std::string(text) + "\" must begin with an optimizer, and '" +
                              first.name + "' is none; there are: " + known);
  }
  template <class M>
  bool try_one(std::string_view text, policy_text const& first, std::string_view rest) {
    if (first.name != M::name) return false;
    auto const optimizer = read_policy<M>(first);
    if (detail::trim(rest).empty())
      throw configuration_error("gradpress: the text \"" + std::string(text) + "\" names no compressor; write \"" +
                                std::string(detail::trim(text.substr(0, text.find('|')))) +
                                " | dense\" to leave gradients as they are");
    driver_ = std::make_unique<detail::driver_of<Exec, M, text_method>>(
        *reducer_, optimizer, split(rest, M::name, detail::compressors_of<M>()));
    return true;
  }
  /// The methods of a text, as many as the optimizer uses.
  static methods split(std::string_view text, std::string_view optimizer, std::size_t count) {
    methods all;
    for (std::size_t from = 0, end = 0; end != std::string_view::npos; from = end + 1) {
      end = text.find(';', from);
      all.emplace_back(detail::trim(text.substr(from, end - from)));
      if (all.back().empty()) detail::malformed(text, "there is nothing before or after a ';'");
    }
    if (all.size() == 1 && all[0] == "dense") all.resize(count, all[0]);
    if (all.size() != count)
      throw configuration_error(
          "gradpress: " + std::string(optimizer) + " uses " +
          (count == 1 ? "one compressor" : "two compressors, with ';' between them") + ", and \"" +
          std::string(detail::trim(text)) + "\" names " + std::to_string(all.size()) +
          (count == 1 ? "" : "; write for example \"top_k(0.01) | error_feedback ; top_k(0.1) | error_feedback\""));
    return all;
  }
};

}  // namespace gradpress
