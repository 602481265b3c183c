// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What nearly every test includes, compiled once. Tests include what they use all the same, and every header is
/// compiled alone elsewhere.

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/recipes.hpp>
#include <gradpress/reducer.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <sstream>
#include <thread>
