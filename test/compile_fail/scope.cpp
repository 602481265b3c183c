// SPDX-License-Identifier: Apache-2.0
// Each CASE must be refused with the sentence on its line; without any, the file compiles.
#include <gradpress/scope/scopes.hpp>

using namespace gradpress;

struct silent {};
struct no_groups {
  static constexpr bool groups_tensors = true;
};
struct whole : no_groups {
  std::vector<std::size_t> groups(std::span<std::size_t const> sizes) const { return {sizes.size()}; }
};

#if defined(CASE_SILENT)  // expect: Scope: needs 'static constexpr bool groups_tensors'.
static_assert(explain_scope<silent>());
#elif defined(CASE_NO_GROUPS)  // expect: Scope: needs 'std::vector<std::size_t> groups
static_assert(explain_scope<no_groups>());
#else
static_assert(explain_scope<whole>());
static_assert(!scope<silent> && !scope<no_groups> && !scope<int>);
#endif
