// What the SentencePiece library takes on trust in a model: that its parts end where they say, and that the
// precompiled table of its normalizer stays within itself.
#pragma once

#include <string>
#include <string_view>

namespace sidestep::daemon {

// Empty if the serialized model can be given to the library, else what is wrong with it.
std::string sentencepiece_problem(std::string_view model);

}  // namespace sidestep::daemon
