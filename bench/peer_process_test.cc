#include "bench/peer_process.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

using testing::HasSubstr;

absl::Status ErrorWhen(const std::string& script) {
  auto peer = PeerProcess::Start({"sh", "-c", script});
  if (!peer.ok()) return peer.status();
  return (*peer)->Call({{"do", "it"}}).status();
}

TEST(PeerProcessTest, AnswersComeInOrder) {
  auto peer = PeerProcess::Start({"cat"});
  ASSERT_TRUE(peer.ok()) << peer.status();
  for (int i = 0; i < 100; ++i) {
    const auto answer = (*peer)->Call({{"number", i}});
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ((*answer)["number"], i);
  }
}

TEST(PeerProcessTest, ALongLineArrivesWhole) {
  auto peer = PeerProcess::Start({"cat"});
  ASSERT_TRUE(peer.ok()) << peer.status();
  const std::string text(100'000, 'x');
  const auto answer = (*peer)->Call({{"text", text}});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ((*answer)["text"], text);
}

TEST(PeerProcessTest, WhatItSaysWentWrongHasItsCode) {
  EXPECT_TRUE(absl::IsDataLoss(ErrorWhen(
      "read x; echo '{\"error\": \"e\", \"kind\": \"wrong bytes\"}'")));
  EXPECT_TRUE(absl::IsUnimplemented(
      ErrorWhen("read x; echo '{\"error\": \"e\", \"kind\": \"missing\"}'")));
  EXPECT_TRUE(absl::IsInternal(ErrorWhen("read x; echo '{\"error\": \"e\"}'")));
}

TEST(PeerProcessTest, AWorkerThatEndsOrTalksNonsenseIsAnError) {
  EXPECT_THAT(std::string(ErrorWhen("exit 3").message()), HasSubstr("ended"));
  EXPECT_THAT(std::string(ErrorWhen("read x; echo hello; read x").message()),
              HasSubstr("hello"));
  EXPECT_TRUE(
      absl::IsNotFound(PeerProcess::Start({"no-such-program"}).status()));
}

}  // namespace
}  // namespace penstock::bench
