// fabric-gossip for C++17: fabric_gossip.h, with handles that free themselves, exceptions, and functions as callbacks.
// SPDX-License-Identifier: Apache-2.0
//
// The documentation in fabric_gossip.h applies here too: what each function does, which functions block, threads,
// limits. In addition:
//
// Handles are classes that can be moved, not copied, and may be destroyed in any order. Classes whose name ends in
// _view are lent: by an event, or for the duration of a callback. A std::string_view and a bytes_view are valid as long
// as the object that they were requested from.
//
// Failures throw gossip::error. The only other exceptions are those of the standard library: out of memory, and
// std::invalid_argument for text that contains a zero byte.
//
// Callbacks may throw; no exception gets into the library. An exception in a callback of host cryptography or in a
// block verifier is a failure with the text of the exception; a predicate that throws counts as false; exceptions of
// other callbacks are dropped.

#ifndef FABRIC_GOSSIP_HPP
#define FABRIC_GOSSIP_HPP

#include "fabric_gossip.h"

#include <chrono>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gossip {

using duration = std::chrono::nanoseconds;

// No limit, as a timeout.
constexpr duration forever = duration::max();

using bytes = std::vector<std::uint8_t>;

// A view of bytes that belong to another object: a vector, a string, or any other type with data() and size() of bytes.
class bytes_view {
public:
    constexpr bytes_view() noexcept = default;
    constexpr bytes_view(const std::uint8_t *data, std::size_t size) noexcept : data_(data), size_(size) {}
    bytes_view(const bytes &of) noexcept : bytes_view(of.data(), of.size()) {}
    bytes_view(std::string_view of) noexcept
        : bytes_view(reinterpret_cast<const std::uint8_t *>(of.data()), of.size()) {}
    bytes_view(const std::string &of) noexcept : bytes_view(std::string_view(of)) {}
    bytes_view(const char *of) noexcept : bytes_view(std::string_view(of)) {}
    bytes_view(gossip_bytes of) noexcept : bytes_view(of.data, of.len) {}

    const std::uint8_t *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const std::uint8_t *begin() const noexcept { return data_; }
    const std::uint8_t *end() const noexcept { return data_ + size_; }
    std::uint8_t operator[](std::size_t place) const noexcept { return data_[place]; }

    bytes copy() const { return bytes(begin(), end()); }
    std::string_view text() const noexcept { return {reinterpret_cast<const char *>(data_), size_}; }

    friend bool operator==(bytes_view a, bytes_view b) noexcept {
        return a.size_ == b.size_ && (a.size_ == 0 || std::memcmp(a.data_, b.data_, a.size_) == 0);
    }
    friend bool operator!=(bytes_view a, bytes_view b) noexcept { return !(a == b); }

private:
    const std::uint8_t *data_ = nullptr;
    std::size_t size_ = 0;
};

inline std::string_view view(gossip_str text) noexcept { return {text.data, text.len}; }

// An error of the library.
class error : public std::runtime_error {
public:
    // Copies an error object, which remains the caller's and may be null.
    explicit error(gossip_result code, const gossip_error *of = nullptr)
        : std::runtime_error(message(code, of)), content_(std::make_shared<content>(code, of)) {}

    // Returns the code to branch on. what() returns the whole text: the peer, the step, and the reason.
    gossip_result code() const noexcept { return content_->code; }
    // Returns the reason without the peer and the step. Where Fabric has a text for it, this is exactly that text.
    const std::string &reason() const noexcept { return content_->reason; }
    // Returns the peer that the error concerns; empty if none is known.
    const std::string &peer() const noexcept { return content_->peer; }
    // Returns the step that failed, such as "dial"; empty if none is known.
    const std::string &step() const noexcept { return content_->step; }
    // Returns one error for each peer that failed, for a call that concerned several peers.
    const std::vector<error> &parts() const noexcept { return content_->parts; }
    // Returns, for a part, the index of its peer in the argument of the call.
    std::size_t peer_index() const noexcept { return content_->peer_index; }

private:
    struct content {
        content(gossip_result code_, const gossip_error *of)
            : code(code_), reason(view(gossip_error_reason(of))), peer(view(gossip_error_peer(of))),
              step(view(gossip_error_step(of))), peer_index(gossip_error_peer_index(of)) {
            for (std::size_t n = 0; n < gossip_error_part_count(of); ++n) {
                const gossip_error *part = gossip_error_part(of, n);
                parts.emplace_back(gossip_error_code(part), part);
            }
        }
        gossip_result code;
        std::string reason, peer, step;
        std::size_t peer_index;
        std::vector<error> parts;
    };

    static std::string message(gossip_result code, const gossip_error *of) {
        return std::string(view(of != nullptr ? gossip_error_message(of) : gossip_result_name(code)));
    }

    // Copying an exception must not throw.
    std::shared_ptr<const content> content_;
};

namespace detail {

template <class T, void (*Free)(T *)> struct deleter {
    void operator()(T *handle) const noexcept { Free(handle); }
};
template <class T, void (*Free)(T *)> using unique = std::unique_ptr<T, deleter<T, Free>>;

// Calls a function that can fail, without its last argument.
template <class Function, class... Arguments> void call(Function function, Arguments... arguments) {
    gossip_error *failure = nullptr;
    const gossip_result code = function(arguments..., &failure);
    if (code != GOSSIP_OK) {
        const unique<gossip_error, gossip_error_free> owner(failure);
        throw error(code, failure);
    }
}

// Calls a function whose last output is a handle.
template <class T, class Function, class... Arguments> T *make(Function function, Arguments... arguments) {
    T *made = nullptr;
    call(function, arguments..., &made);
    return made;
}

inline const char *c_str(const std::string &text) {
    if (text.find('\0') != std::string::npos) {
        throw std::invalid_argument("text contains a zero byte");
    }
    return text.c_str();
}

inline gossip_duration nanoseconds(duration span) noexcept {
    return span == forever ? GOSSIP_FOREVER : static_cast<gossip_duration>(span.count() < 0 ? 0 : span.count());
}

inline duration chrono(gossip_duration span) noexcept {
    constexpr auto most = static_cast<gossip_duration>(duration::max().count());
    return duration(static_cast<duration::rep>(span < most ? span : most));
}

// A callback being passed to the library, which frees it with `discard`; freed here if the library does not take it.
template <class Function> class kept {
public:
    explicit kept(Function function) : function_(std::make_unique<Function>(std::move(function))) {}
    void *user() const noexcept { return function_.get(); }
    void release() noexcept { static_cast<void>(function_.release()); }
    static void discard(void *user) noexcept { delete static_cast<Function *>(user); }
    static Function &of(void *user) noexcept { return *static_cast<Function *>(user); }

private:
    std::unique_ptr<Function> function_;
};

// Returns the result of `ask`, or sets the reason why it failed.
template <class Ask> bool judge(gossip_reply *reply, Ask ask) noexcept {
    try {
        return ask();
    } catch (const std::exception &thrown) {
        gossip_reply_fail(reply, thrown.what());
    } catch (...) {
        gossip_reply_fail(reply, "the host's callback threw something");
    }
    return false;
}

inline void set(gossip_reply *reply, bytes_view answer) noexcept {
    gossip_reply_set(reply, answer.data(), answer.size());
}

inline bytes take(gossip_buffer *made) {
    const unique<gossip_buffer, gossip_buffer_free> buffer(made);
    return bytes_view(gossip_buffer_bytes(buffer.get())).copy();
}

// A handle that this object owns and frees. Empty only after a move.
template <class T, void (*Free)(T *)> class handle {
public:
    T *get() const noexcept { return handle_.get(); }

protected:
    explicit handle(T *owned) noexcept : handle_(owned) {}

private:
    unique<T, Free> handle_;
};

} // namespace detail

// Returns the version of the library at run time.
inline std::string_view version() noexcept { return view(gossip_version()); }

// Throws std::runtime_error if the library at run time does not have the interface of this header.
inline void check_version() {
    const std::string ours = std::to_string(GOSSIP_VERSION_MAJOR) + "." + std::to_string(GOSSIP_VERSION_MINOR) + ".";
    const std::size_t length = GOSSIP_VERSION_MAJOR > 0 ? ours.find('.') + 1 : ours.size();
    if (version().substr(0, length) != std::string_view(ours).substr(0, length)) {
        throw std::runtime_error("fabric_gossip is " + std::string(version()) + ", its header " + ours + "x");
    }
}

// Passes the library's log to `callback`, up to level `most`; an empty callback removes it. There is one callback for
// the whole process, to be set before anything is started. It is called on any thread, several at the same time, and
// from within the C core; of the library it may call only the stop functions.
using log_callback = std::function<void(gossip_log_level, std::string_view target, std::string_view text)>;
inline void set_log(log_callback callback, gossip_log_level most = GOSSIP_LOG_INFO) {
    if (!callback) {
        detail::call(gossip_set_log_callback, nullptr, 0u, nullptr, nullptr);
        return;
    }
    using kept = detail::kept<log_callback>;
    kept keeper(std::move(callback));
    const gossip_log_callback trampoline = [](void *user, gossip_log_level level, gossip_str target, gossip_str text) {
        try {
            kept::of(user)(level, view(target), view(text));
        } catch (...) {
        }
    };
    detail::call(gossip_set_log_callback, trampoline, static_cast<std::uint32_t>(most), keeper.user(), kept::discard);
    keeper.release();
}

// Contents for an MSP built in memory.
class msp_config : public detail::handle<gossip_msp_config, gossip_msp_config_free> {
public:
    explicit msp_config(const std::string &mspid)
        : handle(detail::make<gossip_msp_config>(gossip_msp_config_new, detail::c_str(mspid))) {}

    msp_config &add(gossip_msp_part part, const std::string &name, bytes_view pem) {
        const auto number = static_cast<std::uint32_t>(part);
        detail::call(gossip_msp_config_add, get(), number, detail::c_str(name), pem.data(), pem.size());
        return *this;
    }
    msp_config &add_ou(const std::string &identifier, bytes_view cert = {}) {
        detail::call(gossip_msp_config_add_ou, get(), detail::c_str(identifier), cert.data(), cert.size());
        return *this;
    }
    msp_config &node_ou(gossip_msp_role role, const std::string &identifier, bytes_view cert = {}) {
        const auto number = static_cast<std::uint32_t>(role);
        const char *name = detail::c_str(identifier);
        detail::call(gossip_msp_config_set_node_ou, get(), number, name, cert.data(), cert.size());
        return *this;
    }
    msp_config &version(gossip_msp_version version) {
        detail::call(gossip_msp_config_set_version, get(), static_cast<std::uint32_t>(version));
        return *this;
    }
    msp_config &sha3(bool sha3) {
        detail::call(gossip_msp_config_set_sha3, get(), sha3);
        return *this;
    }
};

// An organisation.
class msp : public detail::handle<gossip_msp, gossip_msp_free> {
public:
    explicit msp(const msp_config &config)
        : handle(detail::make<gossip_msp>(gossip_msp_new, static_cast<const gossip_msp_config *>(config.get()))) {}
    static msp load(const std::string &folder, const std::string &mspid) {
        return msp(detail::make<gossip_msp>(gossip_msp_load, detail::c_str(folder), detail::c_str(mspid)));
    }
    std::string_view id() const noexcept { return view(gossip_msp_id(get())); }

private:
    explicit msp(gossip_msp *owned) noexcept : handle(owned) {}
};

// Cryptography implemented by the host. The MSP replaces empty functions; `sign` is always required. See
// gossip_crypto_callbacks.
struct crypto_callbacks {
    // Signs the message, not its digest, and returns the signature in DER: see gossip_sign_callback.
    std::function<bytes(bytes_view message)> sign;
    std::function<bool(bytes_view identity, bytes_view signature, bytes_view message)> verify;
    std::function<bool(bytes_view channel, bytes_view identity, bytes_view signature, bytes_view message)>
        verify_by_channel;
    // std::nullopt: the identity has no PKI-ID.
    std::function<std::optional<bytes>(bytes_view identity)> pki_id;
    std::function<bool(bytes_view identity)> validate_identity;
    // std::nullopt: the identity never expires.
    std::function<std::optional<std::chrono::system_clock::time_point>(bytes_view identity)> expiration;
    // std::nullopt: the identity has no organisation.
    std::function<std::optional<std::string>(bytes_view identity)> org;
};

// An ECDSA signature in the declared form. S may be high.
class signature {
public:
    // ASN.1 DER, a SEQUENCE of the INTEGERs r and s, as returned by OpenSSL and cloud key services.
    static signature der(bytes data) { return signature(std::move(data), false); }
    // r followed by s, each padded to the length of the curve's order, as returned by PKCS #11.
    static signature raw(bytes data) { return signature(std::move(data), true); }

    void answer(gossip_reply *reply) const noexcept {
        (is_raw_ ? gossip_reply_set_raw : gossip_reply_set_der)(reply, data_.data(), data_.size());
    }

private:
    signature(bytes data, bool is_raw) : data_(std::move(data)), is_raw_(is_raw) {}

    bytes data_;
    bool is_raw_;
};

// Signs a digest of 32 bytes without hashing it again: see gossip_sign_digest_callback.
using digest_signer = std::function<signature(bytes_view digest)>;

// Serializes the identity of a member as it is sent to peers.
inline bytes serialized_identity(const std::string &mspid, bytes_view cert) {
    const char *name = detail::c_str(mspid);
    return detail::take(detail::make<gossip_buffer>(gossip_serialized_identity, name, cert.data(), cert.size()));
}

// Our own identity and key, and the organisations that we trust.
class crypto : public detail::handle<gossip_crypto, gossip_crypto_free> {
public:
    crypto(const msp &of, bytes_view cert, bytes_view key)
        : handle(detail::make<gossip_crypto>(gossip_crypto_new, static_cast<const gossip_msp *>(of.get()), cert.data(),
                                             cert.size(), key.data(), key.size())) {}
    // Uses `callbacks`; `of`, which may be null, provides the functions that they leave out.
    crypto(bytes_view identity, crypto_callbacks callbacks, const msp *of = nullptr)
        : handle(of_callbacks(identity, std::move(callbacks), of)) {}
    // Creates a member of `of` with a private key outside of the process, behind `sign`, which is called once here.
    static crypto of_signer(const msp &of, bytes_view cert, digest_signer sign);
    static crypto load(const std::string &folder, const std::string &mspid) {
        return crypto(detail::make<gossip_crypto>(gossip_crypto_load, detail::c_str(folder), detail::c_str(mspid)));
    }

    bytes_view identity() const noexcept { return gossip_crypto_identity(get()); }
    bytes_view pki_id() const noexcept { return gossip_crypto_pki_id(get()); }

    void trust(const msp &organisation) const { detail::call(gossip_crypto_trust, get(), organisation.get()); }
    void distrust(const std::string &mspid) const { detail::call(gossip_crypto_distrust, get(), detail::c_str(mspid)); }
    // Without `readers` the channel has no policies.
    void set_channel(const std::string &channel, const std::vector<const msp *> &msps,
                     const std::optional<std::vector<std::string>> &readers = std::nullopt) const {
        std::vector<const gossip_msp *> handles;
        for (const msp *organisation : msps) {
            handles.push_back(organisation->get());
        }
        std::vector<const char *> names(1); // Not null, even if there are none.
        std::size_t count = 0;
        if (readers) {
            names.resize(readers->size() + 1);
            for (const std::string &reader : *readers) {
                names[count++] = detail::c_str(reader);
            }
        }
        const char *const *given = readers ? names.data() : nullptr;
        const char *name = detail::c_str(channel);
        detail::call(gossip_crypto_set_channel, get(), name, handles.data(), handles.size(), given, count);
    }
    void remove_channel(const std::string &channel) const {
        detail::call(gossip_crypto_remove_channel, get(), detail::c_str(channel));
    }

    bytes sign(bytes_view data) const {
        return detail::take(detail::make<gossip_buffer>(gossip_crypto_sign, get(), data.data(), data.size()));
    }
    // Throws if the signature is not accepted.
    void verify(bytes_view identity, bytes_view signature, bytes_view data) const {
        detail::call(gossip_crypto_verify, get(), identity.data(), identity.size(), signature.data(), signature.size(),
                     data.data(), data.size());
    }

private:
    explicit crypto(gossip_crypto *owned) noexcept : handle(owned) {}

    static gossip_crypto *of_callbacks(bytes_view identity, crypto_callbacks functions, const msp *of);
};

inline crypto crypto::of_signer(const msp &of, bytes_view cert, digest_signer sign) {
    using kept = detail::kept<digest_signer>;
    kept keeper(std::move(sign));
    const gossip_sign_digest_callback call = [](void *user, const std::uint8_t *digest, std::size_t length,
                                                gossip_reply *reply) {
        return detail::judge(reply, [&] {
            kept::of(user)(bytes_view(digest, length)).answer(reply);
            return true;
        });
    };
    const gossip_free_callback free = kept::discard;
    auto *made = detail::make<gossip_crypto>(gossip_crypto_new_signer, static_cast<const gossip_msp *>(of.get()),
                                             cert.data(), cert.size(), call, keeper.user(), free);
    keeper.release();
    return crypto(made);
}

inline gossip_crypto *crypto::of_callbacks(bytes_view identity, crypto_callbacks functions, const msp *of) {
    using kept = detail::kept<crypto_callbacks>;
    kept keeper(std::move(functions));
    const crypto_callbacks &given = kept::of(keeper.user());
    gossip_crypto_callbacks callbacks{};
    callbacks.size = sizeof callbacks;
    callbacks.user = keeper.user();
    callbacks.free = kept::discard;
    if (given.sign) {
        callbacks.sign = [](void *user, const std::uint8_t *message, std::size_t length, gossip_reply *reply) {
            return detail::judge(reply, [&] {
                detail::set(reply, kept::of(user).sign(bytes_view(message, length)));
                return true;
            });
        };
    }
    if (given.verify) {
        callbacks.verify = [](void *user, gossip_bytes who, gossip_bytes signature, gossip_bytes message,
                              gossip_reply *reply) {
            return detail::judge(reply, [&] { return kept::of(user).verify(who, signature, message); });
        };
    }
    if (given.verify_by_channel) {
        callbacks.verify_by_channel = [](void *user, gossip_bytes channel, gossip_bytes who, gossip_bytes signature,
                                         gossip_bytes message, gossip_reply *reply) {
            return detail::judge(
                reply, [&] { return kept::of(user).verify_by_channel(channel, who, signature, message); });
        };
    }
    if (given.pki_id) {
        callbacks.pki_id = [](void *user, gossip_bytes who, gossip_reply *reply) {
            return detail::judge(reply, [&] {
                const std::optional<bytes> answer = kept::of(user).pki_id(who);
                detail::set(reply, answer ? bytes_view(*answer) : bytes_view());
                return answer.has_value();
            });
        };
    }
    if (given.validate_identity) {
        callbacks.validate_identity = [](void *user, gossip_bytes who, gossip_reply *reply) {
            return detail::judge(reply, [&] { return kept::of(user).validate_identity(who); });
        };
    }
    if (given.expiration) {
        callbacks.expiration = [](void *user, gossip_bytes who, std::int64_t *seconds, gossip_reply *reply) {
            return detail::judge(reply, [&] {
                const auto expires = kept::of(user).expiration(who);
                using whole = std::chrono::seconds;
                *seconds = expires ? std::chrono::duration_cast<whole>(expires->time_since_epoch()).count() : INT64_MAX;
                return true;
            });
        };
    }
    if (given.org) {
        callbacks.org = [](void *user, gossip_bytes who, gossip_reply *reply) {
            return detail::judge(reply, [&] {
                const std::optional<std::string> answer = kept::of(user).org(who);
                detail::set(reply, answer ? bytes_view(*answer) : bytes_view());
                return answer.has_value();
            });
        };
    }
    const gossip_msp *organisation = of != nullptr ? of->get() : nullptr;
    auto *made = detail::make<gossip_crypto>(gossip_crypto_new_callbacks, identity.data(), identity.size(), &callbacks,
                                             organisation);
    keeper.release();
    return made;
}

// Certificates, keys and roots for mutual TLS.
class tls_config : public detail::handle<gossip_tls_config, gossip_tls_config_free> {
public:
    tls_config() : handle(detail::make<gossip_tls_config>(gossip_tls_config_new)) {}

    tls_config &pair(bytes_view cert, bytes_view key) {
        detail::call(gossip_tls_config_set_pair, get(), cert.data(), cert.size(), key.data(), key.size());
        return *this;
    }
    tls_config &pair_files(const std::string &cert, const std::string &key) {
        detail::call(gossip_tls_config_set_pair_files, get(), detail::c_str(cert), detail::c_str(key));
        return *this;
    }
    tls_config &client_pair(bytes_view cert, bytes_view key) {
        detail::call(gossip_tls_config_set_client_pair, get(), cert.data(), cert.size(), key.data(), key.size());
        return *this;
    }
    tls_config &roots(bytes_view pem) {
        detail::call(gossip_tls_config_add_roots, get(), pem.data(), pem.size());
        return *this;
    }
    tls_config &roots_file(const std::string &path) {
        detail::call(gossip_tls_config_add_roots_file, get(), detail::c_str(path));
        return *this;
    }
    tls_config &verify_clients(bytes_view roots) {
        detail::call(gossip_tls_config_verify_clients, get(), roots.data(), roots.size());
        return *this;
    }
    tls_config &server_name(const std::string &name) {
        detail::call(gossip_tls_config_set_server_name, get(), detail::c_str(name));
        return *this;
    }
};

// Checked certificates in use; can be replaced while they run.
class tls : public detail::handle<gossip_tls, gossip_tls_free> {
public:
    explicit tls(const tls_config &config) : handle(detail::make<gossip_tls>(gossip_tls_new, config.get())) {}
    void replace(const tls_config &config) const { detail::call(gossip_tls_replace, get(), config.get()); }
    // Returns the earliest time at which a certificate that we present expires; std::nullopt if none is presented.
    std::optional<std::chrono::system_clock::time_point> expires() const noexcept {
        const std::int64_t seconds = gossip_tls_expires(get());
        if (seconds == INT64_MAX) {
            return std::nullopt;
        }
        return std::chrono::system_clock::time_point(std::chrono::seconds(seconds));
    }
};

class message;

// A message that is lent, or read access to an owned one.
class message_view {
public:
    explicit message_view(const gossip_message *lent) noexcept : message_(lent) {}

    gossip_content content() const noexcept { return gossip_message_content(message_); }
    std::uint64_t nonce() const noexcept { return gossip_message_nonce(message_); }
    std::string_view channel() const noexcept { return bytes_view(gossip_message_channel(message_)).text(); }
    std::uint64_t seq_num() const noexcept { return gossip_message_seq_num(message_); }
    bytes_view data() const noexcept { return gossip_message_data(message_); }
    bytes_view payload() const noexcept { return gossip_message_payload(message_); }
    bytes_view signature() const noexcept { return gossip_message_signature(message_); }
    bytes_view wire() const noexcept { return gossip_message_wire(message_); }
    std::string_view text() const noexcept { return view(gossip_message_text(message_)); }

    // Returns a copy of the message with our signature.
    message sign(const crypto &with) const;
    // Throws if a signature is not accepted.
    void verify(const crypto &with, bytes_view identity) const {
        detail::call(gossip_message_verify, message_, with.get(), identity.data(), identity.size());
    }
    // Returns an owned handle of the same message.
    message clone() const;

    const gossip_message *get() const noexcept { return message_; }

protected:
    const gossip_message *message_;
};

// An owned message.
class message : public message_view {
public:
    // Creates a block message of a channel.
    static message block(const std::string &channel, std::uint64_t seq_num, bytes_view data) {
        const char *name = detail::c_str(channel);
        return message(detail::make<gossip_message>(gossip_message_new_data, name, seq_num, data.data(), data.size()));
    }
    static message empty() { return message(detail::make<gossip_message>(gossip_message_new_empty)); }
    // Creates a message from a serialized gossip.GossipMessage.
    static message of_payload(bytes_view data) {
        return message(detail::make<gossip_message>(gossip_message_new_payload, data.data(), data.size()));
    }
    // Creates a message from a serialized gossip.Envelope.
    static message decode(bytes_view data) {
        return message(detail::make<gossip_message>(gossip_message_decode, data.data(), data.size()));
    }

    message(message &&other) noexcept
        : message_view(std::exchange(other.message_, nullptr)), handle_(std::move(other.handle_)) {}
    message &operator=(message &&other) noexcept {
        message_ = std::exchange(other.message_, nullptr);
        handle_ = std::move(other.handle_);
        return *this;
    }

private:
    friend class message_view;
    explicit message(gossip_message *owned) noexcept : message_view(owned), handle_(owned) {}
    detail::unique<gossip_message, gossip_message_free> handle_;
};

inline message message_view::sign(const crypto &with) const {
    return message(detail::make<gossip_message>(gossip_message_sign, message_, with.get()));
}
inline message message_view::clone() const {
    return message(detail::make<gossip_message>(gossip_message_clone, message_));
}

// A peer as the membership knows it.
struct member {
    explicit member(const gossip_member &of)
        : endpoint(view(of.endpoint)), internal_endpoint(view(of.internal_endpoint)),
          metadata(bytes_view(of.metadata).copy()), pki_id(bytes_view(of.pki_id).copy()) {}
    std::string endpoint, internal_endpoint;
    bytes metadata, pki_id;
};

// A chaincode that a peer announces. Texts of other peers can contain control characters.
struct chaincode {
    std::string name, version;
};

// A peer that is alive and in a channel, with its announcement in that channel.
struct channel_member {
    gossip::member member;
    // The number of blocks that it has; 0 if it announces none.
    std::uint64_t ledger_height;
    std::vector<chaincode> chaincodes;
};

// A connection to a peer.
struct connection {
    explicit connection(const gossip_connection &of)
        : pki_id(bytes_view(of.pki_id).copy()), identity(bytes_view(of.identity).copy()), endpoint(view(of.endpoint)) {}
    bytes pki_id, identity;
    std::string endpoint;
};

// A known identity.
struct identity {
    explicit identity(const gossip_identity &of)
        : pki_id(bytes_view(of.pki_id).copy()), serialized(bytes_view(of.identity).copy()), org(view(of.org)) {}
    bytes pki_id, serialized;
    std::string org;
};

// State of a bootstrap or anchor peer.
struct seed {
    explicit seed(const gossip_seed &of)
        : endpoint(view(of.endpoint)), pki_id(bytes_view(of.pki_id).copy()), connected(of.connected),
          attempts(of.attempts), last_error(view(of.last_error)), next_attempt(detail::chrono(of.next_attempt)) {}
    std::string endpoint;
    bytes pki_id;
    bool connected;
    std::uint32_t attempts;
    std::string last_error;
    duration next_attempt;
};

namespace detail {

// Copies the content of a list and frees the list.
template <class Item, class Raw, class List>
std::vector<Item> items(List *owned, void (*free)(List *), std::size_t (*len)(const List *),
                        gossip_result (*at)(const List *, std::size_t, Raw *, gossip_error **)) {
    const std::unique_ptr<List, void (*)(List *)> list(owned, free);
    std::vector<Item> found;
    for (std::size_t n = 0; n < len(list.get()); ++n) {
        Raw raw{};
        call(at, list.get(), n, &raw);
        found.emplace_back(raw);
    }
    return found;
}
inline std::vector<member> take(gossip_member_list *list) {
    return items<member>(list, gossip_member_list_free, gossip_member_list_len, gossip_member_list_at);
}
inline std::vector<channel_member> take(gossip_channel_member_list *owned) {
    const unique<gossip_channel_member_list, gossip_channel_member_list_free> list(owned);
    std::vector<channel_member> found;
    for (std::size_t n = 0; n < gossip_channel_member_list_len(list.get()); ++n) {
        gossip_channel_member raw{};
        call(gossip_channel_member_list_at, list.get(), n, &raw);
        channel_member &added = found.emplace_back(channel_member{member(raw.member), raw.ledger_height, {}});
        for (std::size_t number = 0; number < raw.chaincode_count; ++number) {
            gossip_chaincode of{};
            call(gossip_channel_member_list_chaincode, list.get(), n, number, &of);
            added.chaincodes.push_back({std::string(view(of.name)), std::string(view(of.version))});
        }
    }
    return found;
}
inline std::vector<connection> take(gossip_connection_list *list) {
    return items<connection>(list, gossip_connection_list_free, gossip_connection_list_len, gossip_connection_list_at);
}
inline std::vector<identity> take(gossip_identity_list *list) {
    return items<identity>(list, gossip_identity_list_free, gossip_identity_list_len, gossip_identity_list_at);
}
inline std::vector<seed> take(gossip_seed_list *list) {
    return items<seed>(list, gossip_seed_list_free, gossip_seed_list_len, gossip_seed_list_at);
}

} // namespace detail

class event;

// An event that is lent, or read access to an owned one.
class event_view {
public:
    explicit event_view(const gossip_event *lent) noexcept : event_(lent) {}

    gossip_event_kind kind() const noexcept { return gossip_event_kind_of(event_); }
    // Returns the number of messages of the event; 1 for a message.
    std::size_t message_count() const noexcept { return gossip_event_message_count(event_); }
    // Returns one of the messages, lent by the event. Throws std::out_of_range beyond the last one.
    message_view message(std::size_t index = 0) const {
        const gossip_message *found = gossip_event_message_at(event_, index);
        if (found == nullptr) {
            throw std::out_of_range("the event has no such message");
        }
        return message_view(found);
    }
    bytes_view pki_id() const noexcept { return gossip_event_pki_id(event_); }
    bytes_view new_pki_id() const noexcept { return gossip_event_new_pki_id(event_); }
    bytes_view identity() const noexcept { return gossip_event_identity(event_); }
    std::string_view endpoint() const noexcept { return view(gossip_event_endpoint(event_)); }
    std::string_view text() const noexcept { return view(gossip_event_text(event_)); }
    std::optional<gossip::error> error() const {
        const gossip_error *found = gossip_event_error(event_);
        return found != nullptr ? std::optional<gossip::error>(std::in_place, gossip_error_code(found), found)
                                : std::nullopt;
    }
    bool inbound() const noexcept { return gossip_event_inbound(event_); }
    duration remaining() const noexcept { return detail::chrono(gossip_event_remaining(event_)); }
    std::optional<gossip::member> member() const {
        gossip_member found{};
        return gossip_event_member(event_, &found) ? std::optional<gossip::member>(std::in_place, found) : std::nullopt;
    }

    // Sends a message back to the peer that this message came from.
    void respond(const message_view &answer) const { detail::call(gossip_event_respond, event_, answer.get()); }
    // Acknowledges a message as processed.
    void ack() const { detail::call(gossip_event_ack, event_, nullptr); }
    // Acknowledges a message with an error.
    void nack(const std::string &text) const { detail::call(gossip_event_ack, event_, detail::c_str(text)); }
    // Returns an owned handle of the same event.
    event clone() const;

    const gossip_event *get() const noexcept { return event_; }

protected:
    const gossip_event *event_;
};

// An owned event: a received message or an event.
class event : public event_view {
public:
    // Takes ownership of a handle.
    explicit event(gossip_event *owned) noexcept : event_view(owned), handle_(owned) {}
    event(event &&other) noexcept
        : event_view(std::exchange(other.event_, nullptr)), handle_(std::move(other.handle_)) {}
    event &operator=(event &&other) noexcept {
        event_ = std::exchange(other.event_, nullptr);
        handle_ = std::move(other.handle_);
        return *this;
    }

private:
    detail::unique<gossip_event, gossip_event_free> handle_;
};

inline event event_view::clone() const { return event(detail::make<gossip_event>(gossip_event_clone, event_)); }

// Returns whether a subscription wants an event. Called on the threads that read the connections, several at the same
// time; must not block.
using predicate = std::function<bool(event_view)>;

// A queue of messages or events from the time of subscribing on.
class subscription : public detail::handle<gossip_subscription, gossip_subscription_free> {
public:
    // Takes ownership of a handle.
    explicit subscription(gossip_subscription *owned) noexcept : handle(owned) {}

    // Returns the next event; std::nullopt if `timeout` passed. Throws with GOSSIP_STOPPED once the subscription has
    // ended and was read empty.
    std::optional<event> recv(duration timeout) const {
        gossip_event *received = nullptr;
        gossip_error *failure = nullptr;
        const gossip_result code = gossip_subscription_recv(get(), detail::nanoseconds(timeout), &received, &failure);
        const detail::unique<gossip_error, gossip_error_free> owner(failure);
        switch (code) {
        case GOSSIP_OK:
            return event(received);
        case GOSSIP_TIMEOUT:
            return std::nullopt;
        default:
            throw gossip::error(code, failure);
        }
    }
    // Waits for the next event and returns it; std::nullopt once the subscription has ended: while (auto event =
    // inbox.next()).
    std::optional<event> next() const {
        try {
            return recv(forever);
        } catch (const gossip::error &thrown) {
            if (thrown.code() == GOSSIP_STOPPED) {
                return std::nullopt;
            }
            throw;
        }
    }
    // Returns a descriptor to poll; see gossip_subscription_fd.
    int fd() const {
        int descriptor = -1;
        detail::call(gossip_subscription_fd, get(), &descriptor);
        return descriptor;
    }
    // Passes every event to `callback`, one at a time, on a separate thread, and calls `at_end`, if there is one, at
    // the end.
    void set_callback(std::function<void(event_view)> callback, std::function<void()> at_end = {}) const {
        struct both {
            std::function<void(event_view)> each;
            std::function<void()> end;
        };
        using kept = detail::kept<both>;
        kept keeper(both{std::move(callback), std::move(at_end)});
        const gossip_event_callback trampoline = [](void *user, const gossip_event *lent) {
            try {
                const both &functions = kept::of(user);
                if (lent != nullptr) {
                    functions.each(event_view(lent));
                } else if (functions.end) {
                    functions.end();
                }
            } catch (...) {
            }
        };
        detail::call(gossip_subscription_set_callback, get(), trampoline, keeper.user(), kept::discard);
        keeper.release();
    }
    void close() const noexcept { gossip_subscription_close(get()); }
    std::uint64_t missed() const noexcept { return gossip_subscription_missed(get()); }
    std::size_t size() const noexcept { return gossip_subscription_len(get()); }
};

// Limits of a subscription; zero means the default. See gossip_subscription_options.
struct subscription_options {
    std::size_t capacity = 0;
    std::size_t bytes = 0;
    gossip_when_full when_full = GOSSIP_WAIT;
    duration wait{};
};

// Returns whether a block is accepted. Called on the node's verifying threads. The text of an exception is the reason
// of the rejection.
using block_verifier = std::function<bool(message_view)>;

// Settings for starting comms and nodes.
class config : public detail::handle<gossip_config, gossip_config_free> {
public:
    config() : handle(detail::make<gossip_config>(gossip_config_new)) {}

    config &set(const std::string &name, std::uint64_t value) {
        detail::call(gossip_config_set, get(), detail::c_str(name), value);
        return *this;
    }
    config &set(const std::string &name, duration span) { return set(name, detail::nanoseconds(span)); }
    std::uint64_t value(const std::string &name) const {
        std::uint64_t value = 0;
        detail::call(gossip_config_value, get(), detail::c_str(name), &value);
        return value;
    }
    // Returns the names of all settings.
    static std::vector<std::string_view> names() {
        std::vector<std::string_view> names;
        for (std::string_view name; !(name = view(gossip_config_name(names.size()))).empty();) {
            names.push_back(name);
        }
        return names;
    }
    config &listen(const std::string &address) { return text(gossip_config_set_listen, address); }
    config &with_tls(const tls &certificates) {
        detail::call(gossip_config_set_tls, get(), certificates.get());
        return *this;
    }
    // "c-core" or "http2".
    config &transport(const std::string &name) { return text(gossip_config_set_transport, name); }
    config &c_core_argument(const std::string &name, std::int32_t value) {
        detail::call(gossip_config_set_c_core_argument, get(), detail::c_str(name), value);
        return *this;
    }
    config &bootstrap(const std::string &endpoint) { return text(gossip_config_add_bootstrap, endpoint); }
    config &endpoint(const std::string &endpoint) { return text(gossip_config_set_endpoint, endpoint); }
    config &external_endpoint(const std::string &endpoint) {
        return text(gossip_config_set_external_endpoint, endpoint);
    }
    config &metadata(bytes_view data) {
        detail::call(gossip_config_set_metadata, get(), data.data(), data.size());
        return *this;
    }
    config &verify_blocks(block_verifier verifier) {
        using kept = detail::kept<block_verifier>;
        kept keeper(std::move(verifier));
        const gossip_block_verifier trampoline = [](void *user, const gossip_message *lent, gossip_reply *reply) {
            return detail::judge(reply, [&] { return kept::of(user)(message_view(lent)); });
        };
        detail::call(gossip_config_set_block_verifier, get(), trampoline, keeper.user(), kept::discard);
        keeper.release();
        return *this;
    }

private:
    template <class Function> config &text(Function function, const std::string &value) {
        detail::call(function, get(), detail::c_str(value));
        return *this;
    }
};

// A peer as given by a caller: by an endpoint, a PKI-ID, or both.
struct peer {
    peer(std::string endpoint_, bytes_view pki_id_ = {}) : endpoint(std::move(endpoint_)), pki_id(pki_id_.copy()) {}
    peer(std::string_view endpoint_) : endpoint(endpoint_) {}
    peer(const char *endpoint_) : endpoint(endpoint_) {}
    explicit peer(bytes_view pki_id_) : pki_id(pki_id_.copy()) {}
    std::string endpoint;
    bytes pki_id;

    // Lends it for the duration of a call.
    gossip_peer lend() const {
        return {endpoint.empty() ? nullptr : detail::c_str(endpoint), pki_id.data(), pki_id.size()};
    }
};

// A snapshot of counters and gauges.
class metrics : public detail::handle<gossip_metrics, gossip_metrics_free> {
public:
    // Takes ownership of a handle.
    explicit metrics(gossip_metrics *owned) noexcept : handle(owned) {}
    // Returns all values in Prometheus' text format.
    std::string_view prometheus() const noexcept { return view(gossip_metrics_prometheus(get())); }
    std::size_t size() const noexcept { return gossip_metrics_count(get()); }
    std::string_view name(std::size_t index) const noexcept { return view(gossip_metrics_name(get(), index)); }
    double value(const std::string &name) const {
        double value = 0;
        detail::call(gossip_metrics_value, get(), detail::c_str(name), &value);
        return value;
    }
};

// A sent message whose acknowledgement is awaited.
class ack_handle : public detail::handle<gossip_ack_handle, gossip_ack_handle_free> {
public:
    // Takes ownership of a handle.
    explicit ack_handle(gossip_ack_handle *owned) noexcept : handle(owned) {}
    // Returns true if the message is acknowledged, and false if it is not yet: call again. Throws the peer's error, or
    // the reason why the message was not delivered.
    bool wait(duration timeout) const {
        try {
            detail::call(gossip_ack_handle_wait, get(), detail::nanoseconds(timeout));
            return true;
        } catch (const error &thrown) {
            if (thrown.code() == GOSSIP_TIMEOUT) {
                return false;
            }
            throw;
        }
    }
    std::uint64_t nonce() const noexcept { return gossip_ack_handle_nonce(get()); }
};

namespace detail {

template <class Of, class Accept>
subscription accept(Accept accept, const Of *of, predicate wanted, const subscription_options &bounds) {
    gossip_subscription_options options{};
    options.size = sizeof options;
    options.capacity = bounds.capacity;
    options.bytes = bounds.bytes;
    options.when_full = bounds.when_full;
    options.wait = nanoseconds(bounds.wait);
    if (!wanted) {
        return subscription(make<gossip_subscription>(accept, of, &options, nullptr, nullptr, nullptr));
    }
    using kept = detail::kept<predicate>;
    kept keeper(std::move(wanted));
    const gossip_predicate trampoline = [](void *user, const gossip_event *lent) {
        try {
            return kept::of(user)(event_view(lent));
        } catch (...) {
            return false;
        }
    };
    subscription made(make<gossip_subscription>(accept, of, &options, trampoline, keeper.user(), kept::discard));
    keeper.release();
    return made;
}

inline std::vector<gossip_peer> lend(const std::vector<peer> &peers) {
    std::vector<gossip_peer> lent;
    for (const peer &each : peers) {
        lent.push_back(each.lend());
    }
    return lent;
}

} // namespace detail

// The communication layer.
class comm : public detail::handle<gossip_comm, gossip_comm_free> {
public:
    comm(const crypto &identity, const config &settings)
        : handle(detail::make<gossip_comm>(gossip_comm_start, identity.get(), settings.get())) {}
    // Takes ownership of a handle.
    explicit comm(gossip_comm *owned) noexcept : handle(owned) {}

    std::string_view local_addr() const noexcept { return view(gossip_comm_local_addr(get())); }
    bytes_view pki_id() const noexcept { return gossip_comm_pki_id(get()); }

    void send(const message_view &sent, const std::vector<peer> &peers) const {
        const auto lent = detail::lend(peers);
        detail::call(gossip_comm_send, get(), sent.get(), lent.data(), lent.size());
    }
    void send(const message_view &sent, const std::vector<peer> &peers, duration timeout) const {
        const auto lent = detail::lend(peers);
        const auto span = detail::nanoseconds(timeout);
        detail::call(gossip_comm_send_timeout, get(), sent.get(), span, lent.data(), lent.size());
    }
    // Returns the number of peers that have acknowledged the message; throws if it is less than `min_ack`.
    std::size_t send_with_ack(const message_view &sent, duration timeout, std::size_t min_ack,
                              const std::vector<peer> &peers) const {
        const auto lent = detail::lend(peers);
        const auto span = detail::nanoseconds(timeout);
        std::size_t acks = 0;
        detail::call(gossip_comm_send_with_ack, get(), sent.get(), span, min_ack, lent.data(), lent.size(), &acks);
        return acks;
    }
    ack_handle send_tracked(const message_view &sent, duration timeout, const peer &to) const {
        const auto lent = to.lend();
        const auto span = detail::nanoseconds(timeout);
        return ack_handle(detail::make<gossip_ack_handle>(gossip_comm_send_tracked, get(), sent.get(), span, &lent));
    }
    // Returns whether the peer has shown that it accepts us.
    bool connect(const peer &to, duration timeout) const {
        const auto lent = to.lend();
        bool confirmed = false;
        detail::call(gossip_comm_connect, get(), &lent, detail::nanoseconds(timeout), &confirmed);
        return confirmed;
    }
    void flush(duration timeout) const { detail::call(gossip_comm_flush, get(), detail::nanoseconds(timeout)); }
    void probe(const peer &at) const {
        const auto lent = at.lend();
        detail::call(gossip_comm_probe, get(), &lent);
    }
    // Returns the peer at an endpoint, and whether that peer said that it accepts us.
    std::pair<connection, bool> handshake(const peer &at) const {
        const auto lent = at.lend();
        gossip_connection_list *who = nullptr;
        bool confirmed = false;
        detail::call(gossip_comm_handshake, get(), &lent, &who, &confirmed);
        return {std::move(detail::take(who).at(0)), confirmed};
    }
    subscription accept(predicate wanted = {}, const subscription_options &bounds = {}) const {
        return detail::accept(gossip_comm_accept, get(), std::move(wanted), bounds);
    }
    subscription events() const { return subscription(detail::make<gossip_subscription>(gossip_comm_events, get())); }
    subscription presumed_dead() const {
        return subscription(detail::make<gossip_subscription>(gossip_comm_presumed_dead, get()));
    }
    void close(const peer &to) const {
        const auto lent = to.lend();
        detail::call(gossip_comm_close, get(), &lent);
    }
    std::vector<connection> connections() const {
        return detail::take(detail::make<gossip_connection_list>(gossip_comm_connections, get()));
    }
    bytes identity(bytes_view pki_id) const {
        return detail::take(detail::make<gossip_buffer>(gossip_comm_identity, get(), pki_id.data(), pki_id.size()));
    }
    std::string org(bytes_view pki_id) const {
        const bytes name =
            detail::take(detail::make<gossip_buffer>(gossip_comm_org, get(), pki_id.data(), pki_id.size()));
        return std::string(bytes_view(name).text());
    }
    gossip::metrics metrics() const {
        return gossip::metrics(detail::make<gossip_metrics>(gossip_comm_metrics, get()));
    }
    // Throws with GOSSIP_TIMEOUT if not everything was written within `drain`; it has stopped nevertheless.
    void stop(duration drain = {}) const { detail::call(gossip_comm_stop, get(), detail::nanoseconds(drain)); }
};

// An organisation of a channel, with its anchor peers: host and port.
struct channel_org {
    std::string mspid;
    std::vector<std::pair<std::string, std::uint16_t>> anchors;
};

// A peer of the network.
class node : public detail::handle<gossip_node, gossip_node_free> {
public:
    node(const crypto &identity, const config &settings)
        : handle(detail::make<gossip_node>(gossip_node_start, identity.get(), settings.get(), nullptr)) {}
    // Starts a node and a subscription like that of notices(), which misses nothing from the start.
    static std::pair<node, subscription> with_notices(const crypto &identity, const config &settings) {
        gossip_subscription *notices = nullptr;
        node made(detail::make<gossip_node>(gossip_node_start, identity.get(), settings.get(), &notices));
        return {std::move(made), subscription(notices)};
    }

    // Returns the node's communication layer. Stopping it stops the node's communication too; destroying it does not.
    gossip::comm comm() const { return gossip::comm(detail::make<gossip_comm>(gossip_node_comm, get())); }
    member self() const { return detail::take(detail::make<gossip_member_list>(gossip_node_self, get())).at(0); }
    std::vector<member> peers() const {
        return detail::take(detail::make<gossip_member_list>(gossip_node_peers, get()));
    }
    std::vector<member> dead() const { return detail::take(detail::make<gossip_member_list>(gossip_node_dead, get())); }
    std::optional<member> lookup(bytes_view pki_id) const {
        auto *list = detail::make<gossip_member_list>(gossip_node_lookup, get(), pki_id.data(), pki_id.size());
        const auto found = detail::take(list);
        return found.empty() ? std::nullopt : std::optional<member>(found.front());
    }
    std::vector<member> channel_peers(const std::string &channel) const {
        const char *name = detail::c_str(channel);
        return detail::take(detail::make<gossip_member_list>(gossip_node_channel_peers, get(), name));
    }
    // Returns the same peers as channel_peers, with what they announce there, sorted by PKI-ID.
    std::vector<channel_member> peers_of_channel(const std::string &channel) const {
        const char *name = detail::c_str(channel);
        return detail::take(detail::make<gossip_channel_member_list>(gossip_node_peers_of_channel, get(), name));
    }
    std::vector<seed> seeds() const { return detail::take(detail::make<gossip_seed_list>(gossip_node_seeds, get())); }
    std::vector<identity> identities() const {
        return detail::take(detail::make<gossip_identity_list>(gossip_node_identities, get()));
    }
    void connect(const std::string &endpoint) const {
        detail::call(gossip_node_connect, get(), detail::c_str(endpoint));
    }
    void initiate_sync(std::size_t count) const { detail::call(gossip_node_initiate_sync, get(), count); }
    void update_metadata(bytes_view data) const {
        detail::call(gossip_node_update_metadata, get(), data.data(), data.size());
    }
    void update_endpoint(const std::string &endpoint) const {
        detail::call(gossip_node_update_endpoint, get(), detail::c_str(endpoint));
    }
    // Validates the identities again for which `suspect` returns true, or all. Throws what `suspect` throws.
    void suspect_peers(const std::function<bool(bytes_view)> &suspect = {}) const {
        if (!suspect) {
            detail::call(gossip_node_suspect_peers, get(), nullptr, nullptr);
            return;
        }
        std::pair<const std::function<bool(bytes_view)> &, std::exception_ptr> asked(suspect, nullptr);
        const gossip_identity_predicate trampoline = [](void *user, gossip_bytes who) {
            auto &[function, thrown] = *static_cast<decltype(asked) *>(user);
            try {
                return thrown == nullptr && function(who);
            } catch (...) {
                thrown = std::current_exception();
                return false;
            }
        };
        detail::call(gossip_node_suspect_peers, get(), trampoline, &asked);
        if (asked.second != nullptr) {
            std::rethrow_exception(asked.second);
        }
    }
    void join_channel(const std::string &channel, const std::vector<channel_org> &orgs) const {
        using list = detail::unique<gossip_channel_orgs, gossip_channel_orgs_free>;
        const list made(detail::make<gossip_channel_orgs>(gossip_channel_orgs_new));
        for (const channel_org &org : orgs) {
            const char *mspid = detail::c_str(org.mspid);
            detail::call(gossip_channel_orgs_add, made.get(), mspid);
            for (const auto &[host, port] : org.anchors) {
                detail::call(gossip_channel_orgs_add_anchor, made.get(), mspid, detail::c_str(host), port);
            }
        }
        detail::call(gossip_node_join_channel, get(), detail::c_str(channel), made.get());
    }
    void leave_channel(const std::string &channel) const {
        detail::call(gossip_node_leave_channel, get(), detail::c_str(channel));
    }
    void update_ledger_height(const std::string &channel, std::uint64_t height) const {
        detail::call(gossip_node_update_ledger_height, get(), detail::c_str(channel), height);
    }
    void update_chaincodes(const std::string &channel, const std::vector<chaincode> &chaincodes) const {
        std::vector<const char *> names, versions;
        for (const chaincode &published : chaincodes) {
            names.push_back(detail::c_str(published.name));
            versions.push_back(detail::c_str(published.version));
        }
        detail::call(gossip_node_update_chaincodes, get(), detail::c_str(channel), names.data(), versions.data(),
                     names.size());
    }
    void gossip(const message_view &spread) const { detail::call(gossip_node_gossip, get(), spread.get()); }
    void send(const message_view &sent, const std::vector<peer> &peers) const {
        const auto lent = detail::lend(peers);
        detail::call(gossip_node_send, get(), sent.get(), lent.data(), lent.size());
    }
    void send_by_criteria(const message_view &sent, duration timeout, std::size_t min_ack, std::size_t max_peers,
                          const std::optional<std::string> &channel = std::nullopt) const {
        const char *name = channel ? detail::c_str(*channel) : nullptr;
        const auto span = detail::nanoseconds(timeout);
        detail::call(gossip_node_send_by_criteria, get(), sent.get(), span, min_ack, max_peers, name);
    }
    subscription accept(predicate wanted = {}, const subscription_options &bounds = {}) const {
        return detail::accept(gossip_node_accept, get(), std::move(wanted), bounds);
    }
    subscription notices() const {
        return subscription(detail::make<gossip_subscription>(gossip_node_notices, get()));
    }
    void wait_for_members(std::size_t count, duration timeout) const {
        detail::call(gossip_node_wait_for_members, get(), count, detail::nanoseconds(timeout));
    }
    gossip::metrics metrics() const {
        return gossip::metrics(detail::make<gossip_metrics>(gossip_node_metrics, get()));
    }
    void stop() const { detail::call(gossip_node_stop, get()); }

private:
    explicit node(gossip_node *owned) noexcept : handle(owned) {}
};

} // namespace gossip

#endif // FABRIC_GOSSIP_HPP
