// SPDX-License-Identifier: Apache-2.0
//
// report.h -- prints the figures.
#pragma once

#include "show.h"

namespace demo {

void print(const figures& f);

}  // namespace demo
