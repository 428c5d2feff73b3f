// fabric-gossip: Hyperledger Fabric's gossip networking for programs that are not async.
// SPDX-License-Identifier: Apache-2.0
//
// docs/c-interface.md is the guide. What holds for all functions:
//
// Results. A function that can fail returns a gossip_result, GOSSIP_OK being 0, and takes as its last argument where to put
// an error, which may be NULL. After a failure the error stands there, to be freed with gossip_error_free; after a success
// NULL does. Other outputs come before it and are written only on success. Whatever stood where something is put is
// overwritten, not freed. After a failure what the call was given belongs to the caller as before.
//
// Handles. A type of which only the name is declared is a handle. It is the caller's from the function that makes it until
// its _free, which takes NULL too. Handles may be freed in any order: what depends on another one keeps what it needs. A
// handle is freed once, and while no other thread uses it. `const` before a handle says that the function can be called
// by several threads at once on the same one; those without it (configurations) are for one thread at a time.
//
// Lent. What a function gives with `const` before a handle, gossip_str or gossip_bytes belongs to the handle it was asked
// of, and is valid until that is freed. What a callback is given is valid until it returns.
//
// Text that goes in ends with a zero byte and is UTF-8; bytes are a pointer and a length, and may be NULL if the length is
// 0. Both are copied. Text that comes out is a gossip_str. Structures with a `size` have it set to their sizeof, and are
// otherwise zeroed but for what is used.
//
// Time spans are nanoseconds: 5 * GOSSIP_SECOND. GOSSIP_FOREVER is no limit.
//
// Threads. Functions may be called on any thread, from callbacks too, unless they say otherwise. They block only where they
// say so. Callbacks are called on the library's threads, never with a lock of the library held, and may call the library;
// the log callback may call little of it. They must return, without exception or longjmp.
//
// Misuse that can be told is an error: NULL, text that is not UTF-8, absurd lengths, numbers that are none of an
// enumeration's. A freed handle, or a pointer to something else, cannot be told.
//
// fork: only before the first call, or with exec right after it in the child. Signals: none is handled or blocked by the
// library; threads of its own have the mask of whoever started it. SIGPIPE is never raised by it.


#ifndef FABRIC_GOSSIP_H
#define FABRIC_GOSSIP_H

// Generated from capi/src by cargo xtask header; changes belong there.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Units of time spans.
#define GOSSIP_MICROSECOND UINT64_C(1000)
#define GOSSIP_MILLISECOND UINT64_C(1000000)
#define GOSSIP_SECOND UINT64_C(1000000000)
// As a timeout: no limit.
#define GOSSIP_FOREVER UINT64_MAX


// The version that this header belongs to, its first number: another one means another interface. (Before 1.0 the same
// goes for the second number.)
#define GOSSIP_VERSION_MAJOR 0

// Its second number: a larger one has more.
#define GOSSIP_VERSION_MINOR 1

// Its third number.
#define GOSSIP_VERSION_PATCH 0

// How a call went. Numbers are never reused, and new ones are added at the end: a program has to expect numbers that it
// does not know.
enum gossip_result
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // It did what it should.
    GOSSIP_OK = 0,
    // A pointer that must not be NULL is. Nothing was tried.
    GOSSIP_NULL_POINTER = 1,
    // Text is not UTF-8. Nothing was tried.
    GOSSIP_INVALID_UTF8 = 2,
    // An argument makes no sense: an unknown name, a number out of range, a structure of unknown size. Nothing was
    // tried.
    GOSSIP_INVALID_ARGUMENT = 3,
    // A fault in the library, which it survived. Please report it.
    GOSSIP_PANIC = 4,
    // A setting or file is wrong. Nothing was tried.
    GOSSIP_CONFIG = 100,
    // The component was stopped, or the subscription has ended and everything left was received.
    GOSSIP_STOPPED = 101,
    // A limit of time passed.
    GOSSIP_TIMEOUT = 102,
    // No connection could be made: nobody listens, the name is unknown, TLS failed, the peer does not answer.
    GOSSIP_UNREACHABLE = 103,
    // The connection ended: closed by the peer, lost, or closed by us.
    GOSSIP_DISCONNECTED = 104,
    // The peer, or our own rules about it, refused: authentication failed or it ended the stream with an error.
    GOSSIP_REFUSED = 105,
    // The peer sent something that breaks the protocol, or a message is malformed.
    GOSSIP_PROTOCOL = 106,
    // An identity is unknown, invalid, expired or not the expected one.
    GOSSIP_IDENTITY = 107,
    // A signature is missing, malformed or wrong.
    GOSSIP_SIGNATURE = 108,
    // A bounded queue or table has no room. Later there may be.
    GOSSIP_FULL = 109,
    // A message exceeds a limit of size.
    GOSSIP_TOO_LARGE = 110,
    // The peer acknowledged with an error of its own.
    GOSSIP_NACK = 111,
    // The acknowledgement of this message was already given.
    GOSSIP_ALREADY_ACKNOWLEDGED = 112,
    // The cryptography library, the operating system or the C core failed in a way that is nobody's input.
    GOSSIP_INTERNAL = 113,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_result gossip_result;
#else
typedef uint32_t gossip_result;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How much a log line matters.
enum gossip_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // As a limit: nothing.
    GOSSIP_LOG_OFF = 0,
    // Something is broken.
    GOSSIP_LOG_ERROR = 1,
    // Something may be.
    GOSSIP_LOG_WARN = 2,
    // What an operator may want to know.
    GOSSIP_LOG_INFO = 3,
    // What a developer may.
    GOSSIP_LOG_DEBUG = 4,
    // Everything.
    GOSSIP_LOG_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_log_level gossip_log_level;
#else
typedef uint32_t gossip_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a message is about: the field number in Fabric's `GossipMessage`.
enum gossip_content
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Nothing that is known.
    GOSSIP_CONTENT_NONE = 0,
    // Somebody is alive.
    GOSSIP_CONTENT_ALIVE = 5,
    // Asks for the membership.
    GOSSIP_CONTENT_MEMBERSHIP_REQUEST = 6,
    // The membership.
    GOSSIP_CONTENT_MEMBERSHIP_RESPONSE = 7,
    // A block.
    GOSSIP_CONTENT_DATA = 8,
    // Pull: hello.
    GOSSIP_CONTENT_HELLO = 9,
    // Pull: what there is.
    GOSSIP_CONTENT_DATA_DIGEST = 10,
    // Pull: what is wanted.
    GOSSIP_CONTENT_DATA_REQUEST = 11,
    // Pull: what was wanted.
    GOSSIP_CONTENT_DATA_UPDATE = 12,
    // Nothing but that it came.
    GOSSIP_CONTENT_EMPTY = 13,
    // Authenticates a connection.
    GOSSIP_CONTENT_CONN = 14,
    // State of a channel at one peer.
    GOSSIP_CONTENT_STATE_INFO = 15,
    // Many of these.
    GOSSIP_CONTENT_STATE_SNAPSHOT = 16,
    // Asks for them.
    GOSSIP_CONTENT_STATE_INFO_PULL_REQUEST = 17,
    // Asks for blocks.
    GOSSIP_CONTENT_STATE_REQUEST = 18,
    // The blocks.
    GOSSIP_CONTENT_STATE_RESPONSE = 19,
    // Election of a leader.
    GOSSIP_CONTENT_LEADERSHIP = 20,
    // An identity.
    GOSSIP_CONTENT_PEER_IDENTITY = 21,
    // An acknowledgement.
    GOSSIP_CONTENT_ACK = 22,
    // Asks for private data.
    GOSSIP_CONTENT_PRIVATE_REQUEST = 23,
    // The private data.
    GOSSIP_CONTENT_PRIVATE_RESPONSE = 24,
    // Private data.
    GOSSIP_CONTENT_PRIVATE_DATA = 25,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_content gossip_content;
#else
typedef uint32_t gossip_content;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What an event is. New kinds may come: a program has to pass over what it does not know.
enum gossip_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // None: the event is NULL.
    GOSSIP_EVENT_NONE = 0,
    // A message from a connected peer (gossip_comm_accept). It has a message, the sender's PKI-ID, identity and socket
    // address, and can be answered: gossip_event_respond, gossip_event_ack.
    GOSSIP_EVENT_MESSAGE = 1,
    // A block of one of our channels, once (gossip_node_accept). It has a message, and the PKI-ID of the peer that we had
    // it from.
    GOSSIP_EVENT_GOSSIPED = 2,
    // A peer that was not connected is: PKI-ID, identity, socket address; as text the endpoint that we dialled, empty if it
    // dialled us.
    GOSSIP_EVENT_CONNECTED = 10,
    // A peer is not connected any more: as above, and as text the reason.
    GOSSIP_EVENT_DISCONNECTED = 11,
    // An authentication failed: an inbound peer's, which we refused (gossip_event_inbound), or our own, which a peer
    // refused after the fact. Endpoint, error, and PKI-ID if it got so far.
    GOSSIP_EVENT_REFUSED = 12,
    // A peer could not be connected to: endpoint and PKI-ID as they were named to us, error.
    GOSSIP_EVENT_DIAL_FAILED = 13,
    // Messages that had been accepted will not be delivered, because they could not be written or because the peer refused
    // us after that: endpoint, PKI-ID, error, messages.
    GOSSIP_EVENT_UNDELIVERED = 14,
    // A peer answered with another identity of the same organisation than was expected: the PKI-ID is the old one,
    // gossip_event_new_pki_id the one that it has.
    GOSSIP_EVENT_IDENTITY_SWITCH = 15,
    // A peer could not be reached for a send, or not reached again after its connection was lost: PKI-ID.
    GOSSIP_EVENT_PRESUMED_DEAD = 16,
    // A connection was given up without knowing whether the peer has read everything that was written to it: PKI-ID,
    // identity, socket address; as text the reason, with the number of messages that were written.
    GOSSIP_EVENT_UNCONFIRMED = 17,
    // A thread could not be started, and what was to be done on it has failed: error.
    GOSSIP_EVENT_OUT_OF_THREADS = 18,
    // Nodes: a member is there, new or back again: member.
    GOSSIP_EVENT_MEMBER_ALIVE = 30,
    // Nodes: a member that is there has another endpoint or other metadata: member.
    GOSSIP_EVENT_MEMBER_UPDATED = 31,
    // Nodes: a member is not there any more: member.
    GOSSIP_EVENT_MEMBER_DEAD = 32,
    // Nodes: a member that was known is so no more: member.
    GOSSIP_EVENT_MEMBER_FORGOTTEN = 33,
    // Nodes: a bootstrap or anchor peer could not be had, and will be tried again: endpoint, and as text the reason.
    GOSSIP_EVENT_SEED_FAILED = 34,
    // Nodes: our own identity expires or has expired: gossip_event_remaining.
    GOSSIP_EVENT_IDENTITY_EXPIRES = 35,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_event_kind gossip_event_kind;
#else
typedef uint32_t gossip_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a PEM file is in an MSP: the folder it would stand in.
enum gossip_msp_part
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // A root authority, `cacerts/`. At least one is needed.
    GOSSIP_MSP_ROOT = 1,
    // An intermediate authority, `intermediatecerts/`.
    GOSSIP_MSP_INTERMEDIATE = 2,
    // A root authority for TLS, `tlscacerts/`.
    GOSSIP_MSP_TLS_ROOT = 3,
    // An intermediate authority for TLS, `tlsintermediatecerts/`.
    GOSSIP_MSP_TLS_INTERMEDIATE = 4,
    // A certificate of an administrator, `admincerts/`.
    GOSSIP_MSP_ADMIN = 5,
    // A certificate revocation list, `crls/`.
    GOSSIP_MSP_REVOCATION_LIST = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_msp_part gossip_msp_part;
#else
typedef uint32_t gossip_msp_part;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A role that members have by their organisational unit: NodeOUs.
enum gossip_msp_role
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Clients.
    GOSSIP_MSP_CLIENT = 1,
    // Peers.
    GOSSIP_MSP_PEER = 2,
    // Administrators.
    GOSSIP_MSP_ADMINISTRATOR = 3,
    // Orderers.
    GOSSIP_MSP_ORDERER = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_msp_role gossip_msp_role;
#else
typedef uint32_t gossip_msp_role;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which of Fabric's rules an MSP follows. Channels choose it by their capabilities; a local MSP has the latest.
enum gossip_msp_version
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // No NodeOUs.
    GOSSIP_MSP_V1_0 = 100,
    // NodeOUs know clients and peers.
    GOSSIP_MSP_V1_1 = 101,
    // As 1.1 for X.509.
    GOSSIP_MSP_V1_3 = 103,
    // NodeOUs know clients, peers, admins and orderers.
    GOSSIP_MSP_V1_4_3 = 143,
    // Ed25519 keys too. The default.
    GOSSIP_MSP_V3_0 = 300,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_msp_version gossip_msp_version;
#else
typedef uint32_t gossip_msp_version;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a full subscription does to what it has no room for.
enum gossip_when_full
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The connection it came from waits for room, at most as long as `wait` says. After it has waited in vain the
    // subscription drops until it has room again. (Subscriptions of nodes always drop.)
    GOSSIP_WAIT = 0,
    // It is dropped, and counted.
    GOSSIP_DROP = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_when_full gossip_when_full;
#else
typedef uint32_t gossip_when_full;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A message on its way to one peer, whose acknowledgement is awaited.
typedef struct gossip_ack_handle gossip_ack_handle;

// Bytes that belong to the caller.
typedef struct gossip_buffer gossip_buffer;

// The organisations of a channel, each with its anchor peers, being put together. Not thread-safe.
typedef struct gossip_channel_orgs gossip_channel_orgs;

// The communication layer: authenticated connections to peers, messages and acknowledgements over them. Every function is
// thread-safe.
typedef struct gossip_comm gossip_comm;

// Settings of a comm or a node that is to be, with Fabric's defaults. Not thread-safe; can be used for any number of
// them.
typedef struct gossip_config gossip_config;

// Connections at one moment.
typedef struct gossip_connection_list gossip_connection_list;

// Our own identity and key, and the organisations that we believe. Can be used for any number of comms and nodes, and
// changed while they run.
typedef struct gossip_crypto gossip_crypto;

// What went wrong: a code to branch on, the whole text for a person, and its parts. Where a call concerns several peers,
// there is one part of it for each of them that failed.
typedef struct gossip_error gossip_error;

// A message that came in, or something that happened. Immutable; every function that reads it is thread-safe and does not
// block.
typedef struct gossip_event gossip_event;

// Identities at one moment.
typedef struct gossip_identity_list gossip_identity_list;

// Members at one moment.
typedef struct gossip_member_list gossip_member_list;

// A gossip message in its envelope. Immutable; every function that reads it is thread-safe and does not block.
typedef struct gossip_message gossip_message;

// Counters and gauges at one moment. Immutable, thread-safe.
typedef struct gossip_metrics gossip_metrics;

// An organisation: judges its members' identities. Immutable.
typedef struct gossip_msp gossip_msp;

// What an MSP is made of, being put together in memory. Not thread-safe.
typedef struct gossip_msp_config gossip_msp_config;

// A peer of the network: keeps the membership, pulls identities, joins channels and spreads their messages. Every function
// is thread-safe.
typedef struct gossip_node gossip_node;

// What a callback answers with. Lent for the length of the call: not to be kept, nor freed.
typedef struct gossip_reply gossip_reply;

// Bootstrap and anchor peers at one moment.
typedef struct gossip_seed_list gossip_seed_list;

// Messages, or events, from now on. What comes in waits here, within its bounds, until it is received: by
// gossip_subscription_recv, by a callback, or by polling its file descriptor. Threads that receive from the same one share
// what comes in.
typedef struct gossip_subscription gossip_subscription;

// Checked certificates in use, for any number of comms and nodes; can be replaced while they run.
typedef struct gossip_tls gossip_tls;

// Certificates, keys and roots for mutual TLS, being put together. Not thread-safe.
typedef struct gossip_tls_config gossip_tls_config;

// Text that belongs to the handle it was asked of, and is valid until that is freed. UTF-8. A zero byte follows its
// last one, so that `data` can be printed as it is; text from other peers can hold zero bytes itself, so trust `len`.
// Never NULL; empty where there is none.
typedef struct gossip_str {
    // Its first byte.
    const char *data;
    // How many bytes, without the zero byte behind them.
    size_t len;
} gossip_str;

// Bytes that belong to the handle they were asked of, and are valid until that is freed. `data` is never NULL, but points
// nowhere if `len` is 0.
typedef struct gossip_bytes {
    // The first one.
    const uint8_t *data;
    // How many.
    size_t len;
} gossip_bytes;

// Gets a log line: its level, the part of the library that says it, and the text, lent for the length of the call and
// without a zero byte behind them. Called on any thread, several at a time, and, for lines of the C core, from within it:
// so the callback may call what stops, where that returns at once, and what has nothing to do with a comm, a node or a
// subscription, but must not call anything else. What the library says while the callback runs, because the callback calls
// it, is not logged. It must return: no exception, no longjmp.
typedef void (*gossip_log_callback)(void *user, gossip_log_level level, struct gossip_str target, struct gossip_str text);

// Frees what belongs to a callback. Called once, when the library needs it no more, on any thread.
typedef void (*gossip_free_callback)(void *user);

// Signs `message` with the key of our identity; the signature goes into `reply`. False: failed.
//
// `message` is the whole message, not its digest. For X.509 identities the signature is ECDSA over the message's SHA-256
// (SHA3-256 where the MSP says so), whatever the curve, in ASN.1 DER; or Ed25519 over the message, where the MSP's version
// allows it. S may be high: the library replaces it by n - s, since peers refuse it. What is not a DER ECDSA signature of
// our certificate's curve leaves unchanged. For a device that signs digests, or returns r and s without DER, use
// gossip_crypto_new_signer.
typedef bool (*gossip_sign_callback)(void *user, const uint8_t *message, size_t message_len, struct gossip_reply *reply);

// Checks a signature over `message` under the key of `identity`. False: it is wrong.
typedef bool (*gossip_verify_callback)(void *user,
                                       struct gossip_bytes identity,
                                       struct gossip_bytes signature,
                                       struct gossip_bytes message,
                                       struct gossip_reply *reply);

// Checks a signature over `message` under the key of `identity`, which must be a reader of `channel`. False: no.
typedef bool (*gossip_verify_by_channel_callback)(void *user,
                                                  struct gossip_bytes channel,
                                                  struct gossip_bytes identity,
                                                  struct gossip_bytes signature,
                                                  struct gossip_bytes message,
                                                  struct gossip_reply *reply);

// Answers a question about an identity into `reply`: its PKI-ID, or its organisation. False: it has none.
typedef bool (*gossip_identity_callback)(void *user, struct gossip_bytes identity, struct gossip_reply *reply);

// When an identity expires: seconds since 1970 into `seconds`, INT64_MAX for never. False: it cannot be told.
typedef bool (*gossip_expiration_callback)(void *user,
                                           struct gossip_bytes identity,
                                           int64_t *seconds,
                                           struct gossip_reply *reply);

// A host's own cryptography. Each function is called on any of the library's threads, several at a time, never with a lock
// of the library held; it may block, and may call the library. What it is given is lent for the length of the call. It must
// return: no exception, no longjmp. What is NULL is done by the MSP that gossip_crypto_new_callbacks is given.
typedef struct gossip_crypto_callbacks {
    // sizeof(gossip_crypto_callbacks), so that a later version can tell what the host knows of.
    size_t size;
    // Handed to each of the functions.
    void *user;
    // Called on `user` once nothing needs it any more, on any thread. May be NULL.
    gossip_free_callback free;
    // Signs a message (not a digest) with our own key, in DER; see gossip_sign_callback.
    gossip_sign_callback sign;
    // Checks a signature.
    gossip_verify_callback verify;
    // Checks a signature against the readers of a channel. NULL without MSP: none counts.
    gossip_verify_by_channel_callback verify_by_channel;
    // The PKI-ID of an identity: the short name that it has in the whole network.
    gossip_identity_callback pki_id;
    // Whether an identity is valid. `reply` takes nothing but gossip_reply_fail.
    gossip_identity_callback validate_identity;
    // When an identity expires.
    gossip_expiration_callback expiration;
    // Which organisation an identity belongs to, its MSP id.
    gossip_identity_callback org;
} gossip_crypto_callbacks;

// Signs a digest with the key of our identity, as it is: it is not to be hashed again. `digest` is the SHA-256 (SHA3-256
// where the MSP says so) of what the library signs, 32 bytes. The ECDSA signature goes into `reply` with
// gossip_reply_set_der or gossip_reply_set_raw, whichever form the device gives; S may be high. False: failed, for the
// reason given with gossip_reply_fail.
//
// Called on any of the library's threads, several at a time, never with a lock of the library held; it may block.
typedef bool (*gossip_sign_digest_callback)(void *user,
                                            const uint8_t *digest,
                                            size_t digest_len,
                                            struct gossip_reply *reply);

// Judges a block before it is delivered and passed on: false for no, with gossip_reply_fail to say why. Called on the
// node's verifying threads, several at a time; may block. The message is lent for the length of the call.
typedef bool (*gossip_block_verifier)(void *user, const struct gossip_message *message, struct gossip_reply *reply);

// A time span in nanoseconds: `5 * GOSSIP_SECOND`.
typedef uint64_t gossip_duration;

// A peer as the membership knows it. Its parts are lent until the list or event that it is of is freed.
typedef struct gossip_member {
    // Where other organisations reach it, `host:port`; empty if they may not.
    struct gossip_str endpoint;
    // Where its own organisation reaches it; empty if it is not disclosed to us.
    struct gossip_str internal_endpoint;
    // What it says about itself.
    struct gossip_bytes metadata;
    // Its PKI-ID.
    struct gossip_bytes pki_id;
} gossip_member;

// Receives events one by one, each lent for the length of the call (gossip_event_clone keeps one). A last call has NULL: the
// subscription has ended, and nothing more comes. It must return: no exception, no longjmp.
typedef void (*gossip_event_callback)(void *user, const struct gossip_event *event);

// A peer as a caller names it: only read during the call that it is given to.
typedef struct gossip_peer {
    // Where it can be dialled, `host:port` (IPv6 in brackets). NULL if the PKI-ID is given and the peer is connected.
    const char *endpoint;
    // Its PKI-ID, if it is known; else NULL.
    const uint8_t *pki_id;
    // How many bytes that has; 0 for none.
    size_t pki_id_len;
} gossip_peer;

// Bounds of one subscription. All zero but the size: the defaults.
typedef struct gossip_subscription_options {
    // sizeof(gossip_subscription_options), so that a later version can tell what the host knows of.
    size_t size;
    // Messages that may wait to be received; 0: 1,024.
    size_t capacity;
    // Bytes that may wait to be received; 0: 16 MiB. A single message that is larger is taken while nothing else waits.
    size_t bytes;
    // A gossip_when_full.
    uint32_t when_full;
    // How long a connection waits for room, in nanoseconds; 0: a second.
    gossip_duration wait;
} gossip_subscription_options;

// Whether a subscription wants this event, which is lent for the length of the call. Called on the threads that read the
// connections (of nodes: on the node's own), several at a time: it must not block.
typedef bool (*gossip_predicate)(void *user, const struct gossip_event *event);

// Whether an identity is to be validated anew.
typedef bool (*gossip_identity_predicate)(void *user, struct gossip_bytes identity);

// A connection to a peer. Its parts are lent until the list that it is of is freed.
typedef struct gossip_connection {
    // The authenticated PKI-ID.
    struct gossip_bytes pki_id;
    // The identity that it authenticated with.
    struct gossip_bytes identity;
    // The socket address at the other end: of an accepted connection an ephemeral port.
    struct gossip_str endpoint;
} gossip_connection;

// An identity that is known. Its parts are lent until the list that it is of is freed.
typedef struct gossip_identity {
    // Its PKI-ID.
    struct gossip_bytes pki_id;
    // The identity as it travels.
    struct gossip_bytes identity;
    // Its organisation, the MSP id; empty if none is known.
    struct gossip_str org;
} gossip_identity;

// How things stand with a bootstrap or anchor peer. Its parts are lent until the list that it is of is freed.
typedef struct gossip_seed {
    // Its endpoint, as it was given.
    struct gossip_str endpoint;
    // Who was found there last; empty if nobody.
    struct gossip_bytes pki_id;
    // Whether it has answered.
    bool connected;
    // How often in a row contacting it has failed.
    uint32_t attempts;
    // Why it failed last; empty once it has answered.
    struct gossip_str last_error;
    // In how long it will be tried again, in nanoseconds; 0 while it is being tried and once it has answered.
    gossip_duration next_attempt;
} gossip_seed;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library that runs, such as `0.1.0`; to be compared with that of the header. Valid for ever.
//
// Thread-safe. Does not block.
struct gossip_str gossip_version(void);

// The name of a code, such as `GOSSIP_TIMEOUT`; `unknown` for a number that is none. Valid for ever.
//
// Thread-safe. Does not block.
struct gossip_str gossip_result_name(uint32_t code);

// The error's code: what the call returned. `GOSSIP_OK` for NULL.
//
// Thread-safe. Does not block.
gossip_result gossip_error_code(const struct gossip_error *error);

// The whole message: the peer, the step, and what went wrong.
//
// Thread-safe. Does not block.
struct gossip_str gossip_error_message(const struct gossip_error *error);

// What went wrong, without the peer and the step. Where Fabric has a text of its own for it, exactly that.
//
// Thread-safe. Does not block.
struct gossip_str gossip_error_reason(const struct gossip_error *error);

// The peer it is about: an endpoint, a PKI-ID, or both. Empty where none is known.
//
// Thread-safe. Does not block.
struct gossip_str gossip_error_peer(const struct gossip_error *error);

// The step that failed, such as `dial`, `ping` or `handshake`. Empty where none is known.
//
// Thread-safe. Does not block.
struct gossip_str gossip_error_step(const struct gossip_error *error);

// How many parts it has: one for each peer that failed, where a call concerned several.
//
// Thread-safe. Does not block.
size_t gossip_error_part_count(const struct gossip_error *error);

// One part, which belongs to the error; NULL beyond the last one.
//
// Thread-safe. Does not block.
const struct gossip_error *gossip_error_part(const struct gossip_error *error, size_t index);

// For a part: the place of its peer in the array that the call was given. 0 otherwise.
//
// Thread-safe. Does not block.
size_t gossip_error_peer_index(const struct gossip_error *error);

// Frees an error, and with it its parts. NULL is nothing.
void gossip_error_free(struct gossip_error *error);

// The content of a buffer; a zero byte follows it, so that what is text can be printed. Nothing for NULL.
//
// Thread-safe. Does not block.
struct gossip_bytes gossip_buffer_bytes(const struct gossip_buffer *buffer);

// Frees a buffer. NULL is nothing.
void gossip_buffer_free(struct gossip_buffer *buffer);

// Has the library's log given to `callback`, up to `max_level`, a gossip_log_level. There is one for the whole process: a
// further call replaces it, and NULL takes it away. `free` is called on the old `user` once no thread is in the callback
// any more. Keys and the content of messages are never logged. GOSSIP_CONFIG: the program is a Rust program with a logger of
// its own.
//
// Thread-safe. Does not block.
gossip_result gossip_set_log_callback(gossip_log_callback callback,
                                      uint32_t max_level,
                                      void *user,
                                      gossip_free_callback free,
                                      struct gossip_error **error);

// An MSP from its folder, as cryptogen and fabric-ca-client make it. GOSSIP_CONFIG and others name file and rule. To be
// freed with gossip_msp_free.
//
// Reads files.
gossip_result gossip_msp_load(const char *folder,
                              const char *mspid,
                              struct gossip_msp **msp,
                              struct gossip_error **error);

// Begins an MSP in memory. To be freed with gossip_msp_config_free.
gossip_result gossip_msp_config_new(const char *mspid, struct gossip_msp_config **config, struct gossip_error **error);

// Adds a PEM file; `part` is a gossip_msp_part. `name` is for errors. The bytes are copied.
gossip_result gossip_msp_config_add(struct gossip_msp_config *config,
                                    uint32_t part,
                                    const char *name,
                                    const uint8_t *pem,
                                    size_t pem_len,
                                    struct gossip_error **error);

// Adds an organisational unit of which members must have one: `OrganizationalUnitIdentifiers`. With `cert`, PEM, it counts
// only where that authority vouches for it; `cert_len` 0 is none.
gossip_result gossip_msp_config_add_ou(struct gossip_msp_config *config,
                                       const char *identifier,
                                       const uint8_t *cert,
                                       size_t cert_len,
                                       struct gossip_error **error);

// Tells a role by an organisational unit, and so turns NodeOUs on; `role` is a gossip_msp_role. With `cert`, PEM, only where
// that authority vouches for it; `cert_len` 0 is none.
gossip_result gossip_msp_config_set_node_ou(struct gossip_msp_config *config,
                                            uint32_t role,
                                            const char *identifier,
                                            const uint8_t *cert,
                                            size_t cert_len,
                                            struct gossip_error **error);

// Which of Fabric's rules to follow; a gossip_msp_version.
gossip_result gossip_msp_config_set_version(struct gossip_msp_config *config,
                                            uint32_t version,
                                            struct gossip_error **error);

// Whether messages are signed over their SHA3-256 instead of their SHA-256.
gossip_result gossip_msp_config_set_sha3(struct gossip_msp_config *config, bool sha3, struct gossip_error **error);

// Frees it. NULL is nothing.
void gossip_msp_config_free(struct gossip_msp_config *config);

// An MSP from a configuration, which stays the caller's. Errors name file and rule. To be freed with gossip_msp_free.
gossip_result gossip_msp_new(const struct gossip_msp_config *config,
                             struct gossip_msp **msp,
                             struct gossip_error **error);

// The organisation's name in the network.
//
// Thread-safe. Does not block.
struct gossip_str gossip_msp_id(const struct gossip_msp *msp);

// Frees it; what uses it goes on to. NULL is nothing.
void gossip_msp_free(struct gossip_msp *msp);

// Our identity from the folder of our local MSP: the certificate in `signcerts/`, the key in `keystore/`, and our
// organisation from the rest. GOSSIP_CONFIG, GOSSIP_IDENTITY and others name file and rule. To be freed with
// gossip_crypto_free.
//
// Reads files.
gossip_result gossip_crypto_load(const char *folder,
                                 const char *mspid,
                                 struct gossip_crypto **crypto,
                                 struct gossip_error **error);

// Our identity from memory: a member of `msp`, by its certificate and its unencrypted private key, both PEM. The bytes are
// copied; `msp` stays the caller's. To be freed with gossip_crypto_free.
//
// GOSSIP_IDENTITY and others: the MSP does not accept the certificate as one of its own, it has expired, or the key is not
// its other half.
gossip_result gossip_crypto_new(const struct gossip_msp *msp,
                                const uint8_t *cert,
                                size_t cert_len,
                                const uint8_t *key,
                                size_t key_len,
                                struct gossip_crypto **crypto,
                                struct gossip_error **error);

// Our identity with cryptography of the host's own. `identity` is ours as it travels: with an MSP, a serialized
// `msp.SerializedIdentity` (gossip_serialized_identity makes one). `msp`, which may be NULL, does what the callbacks leave
// out. `callbacks` is copied; its `user` belongs to the library from success on. To be freed with gossip_crypto_free.
//
// GOSSIP_INVALID_ARGUMENT: the size is unknown, `sign` is NULL, or without an MSP one of `verify`, `pki_id`,
// `validate_identity`, `expiration` and `org` is. GOSSIP_IDENTITY: our identity has no PKI-ID.
gossip_result gossip_crypto_new_callbacks(const uint8_t *identity,
                                          size_t identity_len,
                                          const struct gossip_crypto_callbacks *callbacks,
                                          const struct gossip_msp *msp,
                                          struct gossip_crypto **crypto,
                                          struct gossip_error **error);

// The identity of a member as it travels: a `msp.SerializedIdentity` of its MSP id and its certificate, PEM. To be freed with
// gossip_buffer_free.
gossip_result gossip_serialized_identity(const char *mspid,
                                         const uint8_t *cert,
                                         size_t cert_len,
                                         struct gossip_buffer **identity,
                                         struct gossip_error **error);

// Our identity as it travels.
//
// Thread-safe. Does not block.
struct gossip_bytes gossip_crypto_identity(const struct gossip_crypto *crypto);

// Our PKI-ID: our short name in the whole network.
//
// Thread-safe. Does not block.
struct gossip_bytes gossip_crypto_pki_id(const struct gossip_crypto *crypto);

// Believes the members of another organisation too. `msp` stays the caller's.
//
// Thread-safe. Does not block.
gossip_result gossip_crypto_trust(const struct gossip_crypto *crypto,
                                  const struct gossip_msp *msp,
                                  struct gossip_error **error);

// Believes an organisation's members no more. Who is connected stays so until gossip_node_suspect_peers, or until its
// identity expires.
//
// Thread-safe. Does not block.
gossip_result gossip_crypto_distrust(const struct gossip_crypto *crypto,
                                     const char *mspid,
                                     struct gossip_error **error);

// Sets the organisations of a channel, whose members are believed, and the MSP ids whose members may read it. With
// `readers` NULL it has no policies, and nothing that other organisations' members signed counts.
//
// Thread-safe. Does not block.
gossip_result gossip_crypto_set_channel(const struct gossip_crypto *crypto,
                                        const char *channel,
                                        const struct gossip_msp *const *msps,
                                        size_t msp_count,
                                        const char *const *readers,
                                        size_t reader_count,
                                        struct gossip_error **error);

// Forgets a channel's organisations.
//
// Thread-safe. Does not block.
gossip_result gossip_crypto_remove_channel(const struct gossip_crypto *crypto,
                                           const char *channel,
                                           struct gossip_error **error);

// Signs `data`, which is the message and not its digest, with our own key. ECDSA signatures are DER with low S. The signature
// is to be freed with gossip_buffer_free.
//
// Thread-safe. Blocks as long as a host's callback does.
gossip_result gossip_crypto_sign(const struct gossip_crypto *crypto,
                                 const uint8_t *data,
                                 size_t len,
                                 struct gossip_buffer **signature,
                                 struct gossip_error **error);

// Checks a signature over `data` under the key of `identity`, which has to be valid. GOSSIP_SIGNATURE, GOSSIP_IDENTITY: it
// does not count.
//
// Thread-safe. Blocks as long as a host's callback does.
gossip_result gossip_crypto_verify(const struct gossip_crypto *crypto,
                                   const uint8_t *identity,
                                   size_t identity_len,
                                   const uint8_t *signature,
                                   size_t signature_len,
                                   const uint8_t *data,
                                   size_t len,
                                   struct gossip_error **error);

// Frees it; what uses it goes on to. NULL is nothing.
void gossip_crypto_free(struct gossip_crypto *crypto);

// Answers with these bytes, which are copied; a further call replaces them. At most 1 MiB: with more the callback counts
// as failed.
//
// To be called from within the callback that it was given to, by its thread.
void gossip_reply_set(struct gossip_reply *reply,
                      const uint8_t *data,
                      size_t len);

// Answers a gossip_sign_digest_callback with an ECDSA signature in ASN.1 DER, a SEQUENCE of the INTEGERs r and s, as
// OpenSSL, Java and the key services of clouds give it. The bytes are copied; a further call replaces them.
//
// To be called from within the callback that it was given to, by its thread.
void gossip_reply_set_der(struct gossip_reply *reply, const uint8_t *data, size_t len);

// Answers a gossip_sign_digest_callback with an ECDSA signature as r and s one after the other, each padded with zeros to the
// length of the curve's order (64 bytes in all for P-256), as PKCS #11 gives it. The bytes are copied; a further call
// replaces them.
//
// To be called from within the callback that it was given to, by its thread.
void gossip_reply_set_raw(struct gossip_reply *reply,
                          const uint8_t *data,
                          size_t len);

// Says why the callback fails, which then has to return false. The text is copied; it goes into errors and the log.
//
// To be called from within the callback that it was given to, by its thread.
void gossip_reply_fail(struct gossip_reply *reply, const char *text);

// Creates our identity with a key that stays elsewhere: a member of `msp`, by its certificate, PEM, with an ECDSA key, and
// `sign`, which signs digests with the key. The bytes are copied; `msp` stays the caller's. `user` is handed to `sign` and
// belongs to the library from success on: `free`, which may be NULL, is called on it when nothing needs it any more. To be
// freed with gossip_crypto_free.
//
// Calls `sign` once. GOSSIP_CONFIG, GOSSIP_IDENTITY and others: the MSP does not accept the certificate as one of its own, it
// has expired, its key is not ECDSA, or the first signature does not verify under it. GOSSIP_SIGNATURE: the first signature
// failed, or does not have the form that was named.
gossip_result gossip_crypto_new_signer(const struct gossip_msp *msp,
                                       const uint8_t *cert,
                                       size_t cert_len,
                                       gossip_sign_digest_callback sign,
                                       void *user,
                                       gossip_free_callback free,
                                       struct gossip_crypto **crypto,
                                       struct gossip_error **error);

// An empty one. To be freed with gossip_tls_config_free.
gossip_result gossip_tls_config_new(struct gossip_tls_config **config, struct gossip_error **error);

// Our certificate (followed by its intermediates, if any) and its private key, both PEM in memory, shown in both
// directions. Without a pair one can only dial, and only peers that ask for none. The bytes are copied.
gossip_result gossip_tls_config_set_pair(struct gossip_tls_config *config,
                                         const uint8_t *cert,
                                         size_t cert_len,
                                         const uint8_t *key,
                                         size_t key_len,
                                         struct gossip_error **error);

// As gossip_tls_config_set_pair, from files, which are read now.
gossip_result gossip_tls_config_set_pair_files(struct gossip_tls_config *config,
                                               const char *cert_path,
                                               const char *key_path,
                                               struct gossip_error **error);

// Another pair to show when dialling. The bytes are copied.
gossip_result gossip_tls_config_set_client_pair(struct gossip_tls_config *config,
                                                const uint8_t *cert,
                                                size_t cert_len,
                                                const uint8_t *key,
                                                size_t key_len,
                                                struct gossip_error **error);

// Roots that vouch for the servers that are dialled, PEM; may be called several times. The bytes are copied.
gossip_result gossip_tls_config_add_roots(struct gossip_tls_config *config,
                                          const uint8_t *roots,
                                          size_t roots_len,
                                          struct gossip_error **error);

// As gossip_tls_config_add_roots, from a file, which is read now.
gossip_result gossip_tls_config_add_roots_file(struct gossip_tls_config *config,
                                               const char *path,
                                               struct gossip_error **error);

// Requires of peers that dial us a certificate that these roots vouch for, PEM; others get no connection. Without it, as in
// Fabric, a certificate is asked for and the gossip handshake authenticates. May be called several times.
gossip_result gossip_tls_config_verify_clients(struct gossip_tls_config *config,
                                               const uint8_t *roots,
                                               size_t roots_len,
                                               struct gossip_error **error);

// Checks dialled servers' certificates for this name instead of the one in the endpoint.
gossip_result gossip_tls_config_set_server_name(struct gossip_tls_config *config,
                                                const char *name,
                                                struct gossip_error **error);

// Frees it. NULL is nothing.
void gossip_tls_config_free(struct gossip_tls_config *config);

// Checks a configuration, which stays the caller's. GOSSIP_CONFIG names file and field: unreadable PEM, no certificate in
// it, a key that does not belong to its certificate. To be freed with gossip_tls_free.
gossip_result gossip_tls_new(const struct gossip_tls_config *config,
                             struct gossip_tls **tls,
                             struct gossip_error **error);

// Replaces the certificates: the next dial and the next accepted connection use the new ones, existing ones go on. After an
// error the old ones stay. Whether clients are verified cannot change, nor can the pair be taken away.
//
// Thread-safe. Does not block.
gossip_result gossip_tls_replace(const struct gossip_tls *tls,
                                 const struct gossip_tls_config *config,
                                 struct gossip_error **error);

// Seconds since 1970 at which the certificates that are shown expire, the first of them; INT64_MAX if none is shown.
//
// Thread-safe. Does not block.
int64_t gossip_tls_expires(const struct gossip_tls *tls);

// Frees it; what uses it goes on to. NULL is nothing.
void gossip_tls_free(struct gossip_tls *tls);

// One with the defaults. To be freed with gossip_config_free.
gossip_result gossip_config_new(struct gossip_config **config, struct gossip_error **error);

// Changes a setting by its name, such as `comm.dial_timeout`: time spans in nanoseconds, yes and no as 1 and 0.
// gossip_config_name lists the names; docs/c-settings.md says what each means. With `discovery.sync_interval` and
// `transport.memory_quota` 0 stands for none.
//
// GOSSIP_INVALID_ARGUMENT: there is no such setting, or the value is out of range for its type. Whether values make sense
// is checked when something is started with them.
gossip_result gossip_config_set(struct gossip_config *config,
                                const char *name,
                                uint64_t value,
                                struct gossip_error **error);

// What a setting is now.
gossip_result gossip_config_value(struct gossip_config *config,
                                  const char *name,
                                  uint64_t *value,
                                  struct gossip_error **error);

// The name of the setting at this place, from 0 on; empty beyond the last one. Valid for ever.
//
// Thread-safe. Does not block.
struct gossip_str gossip_config_name(size_t index);

// Serves on this address, `host:port`; port 0 takes a free one (gossip_comm_local_addr tells). Default: no server, only
// dialling.
gossip_result gossip_config_set_listen(struct gossip_config *config, const char *address, struct gossip_error **error);

// Mutual TLS with these certificates. The handle stays the caller's and can replace them while they are in use. Default:
// no TLS, which leaves connection messages open to replay, and warns.
gossip_result gossip_config_set_tls(struct gossip_config *config,
                                    const struct gossip_tls *tls,
                                    struct gossip_error **error);

// An integer argument of the C core by its name, such as `grpc.http2.lookahead_bytes`. One given here goes before the
// settings of this library.
gossip_result gossip_config_set_c_core_argument(struct gossip_config *config,
                                                const char *name,
                                                int32_t value,
                                                struct gossip_error **error);

// Nodes: an endpoint of a peer of our organisation to contact first, `peer.gossip.bootstrap`. May be called several
// times.
gossip_result gossip_config_add_bootstrap(struct gossip_config *config,
                                          const char *endpoint,
                                          struct gossip_error **error);

// Nodes: where peers of our organisation reach us, `peer.gossip.endpoint`. Default: the address that is listened on;
// needed where that stands for all interfaces. Port 0 stands for the port that the listener got.
gossip_result gossip_config_set_endpoint(struct gossip_config *config,
                                         const char *endpoint,
                                         struct gossip_error **error);

// Nodes: where peers of other organisations reach us, `peer.gossip.externalEndpoint`. Default: none, and then other
// organisations do not see us, nor tell us of themselves.
gossip_result gossip_config_set_external_endpoint(struct gossip_config *config,
                                                  const char *endpoint,
                                                  struct gossip_error **error);

// Nodes: what we say about ourselves to all members. Default: nothing. The bytes are copied.
gossip_result gossip_config_set_metadata(struct gossip_config *config,
                                         const uint8_t *data,
                                         size_t len,
                                         struct gossip_error **error);

// Nodes: who judges blocks. Default: every block counts, so that any member of the channel's organisations can name a number
// far ahead, behind which no other block is taken. `free` is called on `user` when nothing needs it any more.
gossip_result gossip_config_set_block_verifier(struct gossip_config *config,
                                               gossip_block_verifier verifier,
                                               void *user,
                                               gossip_free_callback free,
                                               struct gossip_error **error);

// Frees it; what was started with it goes on. NULL is nothing.
void gossip_config_free(struct gossip_config *config);

// A block of a channel, for peers of the channel and the organisation; unsigned, as blocks are in Fabric. `data` is copied.
// To be freed with gossip_message_free.
gossip_result gossip_message_new_data(const char *channel,
                                      uint64_t seq_num,
                                      const uint8_t *data,
                                      size_t len,
                                      struct gossip_message **message,
                                      struct gossip_error **error);

// A message without content. To be freed with gossip_message_free.
gossip_result gossip_message_new_empty(struct gossip_message **message, struct gossip_error **error);

// Any message, from a serialized `gossip.GossipMessage`; unsigned. `data` is copied. GOSSIP_PROTOCOL: it is none. To be
// freed with gossip_message_free.
gossip_result gossip_message_new_payload(const uint8_t *data,
                                         size_t len,
                                         struct gossip_message **message,
                                         struct gossip_error **error);

// A message as it travels, from a serialized `gossip.Envelope`. `data` is copied. GOSSIP_PROTOCOL: it is none. Says nothing
// about its signature. To be freed with gossip_message_free.
gossip_result gossip_message_decode(const uint8_t *data,
                                    size_t len,
                                    struct gossip_message **message,
                                    struct gossip_error **error);

// The same message with our signature. To be freed with gossip_message_free.
//
// Thread-safe. Blocks as long as a host's callback does.
gossip_result gossip_message_sign(const struct gossip_message *message,
                                  const struct gossip_crypto *crypto,
                                  struct gossip_message **signed_message,
                                  struct gossip_error **error);

// Checks the signatures of a message under the key of `identity`. GOSSIP_SIGNATURE, GOSSIP_IDENTITY: they do not count.
//
// Thread-safe. Blocks as long as a host's callback does.
gossip_result gossip_message_verify(const struct gossip_message *message,
                                    const struct gossip_crypto *crypto,
                                    const uint8_t *identity,
                                    size_t identity_len,
                                    struct gossip_error **error);

// Another handle on the same message: what turns one that is lent into one of one's own. To be freed with
// gossip_message_free.
gossip_result gossip_message_clone(const struct gossip_message *message,
                                   struct gossip_message **clone,
                                   struct gossip_error **error);

// What it is about.
gossip_content gossip_message_content(const struct gossip_message *message);

// Its nonce: picked by the sender, carried back by answers and acknowledgements.
uint64_t gossip_message_nonce(const struct gossip_message *message);

// The name of its channel; empty outside of channels.
struct gossip_bytes gossip_message_channel(const struct gossip_message *message);

// Of a block, its number; 0 for other messages.
uint64_t gossip_message_seq_num(const struct gossip_message *message);

// Of a block, its content; empty for other messages.
struct gossip_bytes gossip_message_data(const struct gossip_message *message);

// The serialized `gossip.GossipMessage`: what a signature covers.
struct gossip_bytes gossip_message_payload(const struct gossip_message *message);

// Its signature; empty if it has none.
struct gossip_bytes gossip_message_signature(const struct gossip_message *message);

// The serialized `gossip.Envelope`: what travels, as it was received if it was.
struct gossip_bytes gossip_message_wire(const struct gossip_message *message);

// The message for a person to read, as Fabric writes it into its logs.
struct gossip_str gossip_message_text(const struct gossip_message *message);

// Frees it. NULL is nothing; one that is lent is not to be freed.
void gossip_message_free(struct gossip_message *message);

// What it is.
gossip_event_kind gossip_event_kind_of(const struct gossip_event *event);

// Its message, lent until the event is freed; NULL if it has none, of several the first.
const struct gossip_message *gossip_event_message(const struct gossip_event *event);

// How many messages it has.
size_t gossip_event_message_count(const struct gossip_event *event);

// One of its messages, in order, lent until the event is freed; NULL beyond the last one.
const struct gossip_message *gossip_event_message_at(const struct gossip_event *event, size_t index);

// The PKI-ID of the peer that it is about; empty if none is known.
struct gossip_bytes gossip_event_pki_id(const struct gossip_event *event);

// Of an identity switch, the PKI-ID that the peer has now; empty otherwise.
struct gossip_bytes gossip_event_new_pki_id(const struct gossip_event *event);

// The identity of the peer, as it authenticated with it; empty if it is not about a connection.
struct gossip_bytes gossip_event_identity(const struct gossip_event *event);

// Where the peer is: the socket address of a connection, or the endpoint that it was named by.
struct gossip_str gossip_event_endpoint(const struct gossip_event *event);

// What there is to say about it for a person; see the kinds. Of one with an error, its whole message.
struct gossip_str gossip_event_text(const struct gossip_event *event);

// Its error, lent until the event is freed; NULL if it has none.
const struct gossip_error *gossip_event_error(const struct gossip_event *event);

// Of a refusal: whether it was an inbound peer that we refused.
bool gossip_event_inbound(const struct gossip_event *event);

// Of an identity that expires: for how long it still counts, in nanoseconds; 0 if it does not any more.
gossip_duration gossip_event_remaining(const struct gossip_event *event);

// Its member, whose parts are lent until the event is freed. False, and nothing written, if it has none.
bool gossip_event_member(const struct gossip_event *event, struct gossip_member *member);

// Sends a message back to the peer that this one came from, unsigned. GOSSIP_FULL: the queue to the peer is full;
// GOSSIP_DISCONNECTED: it is no longer connected; GOSSIP_INVALID_ARGUMENT: not a message from a connected peer.
//
// Thread-safe. Does not block.
gossip_result gossip_event_respond(const struct gossip_event *event,
                                   const struct gossip_message *message,
                                   struct gossip_error **error);

// Acknowledges a message to the sender that waits for it: with `text` NULL as processed, otherwise with what went wrong.
// Fails as gossip_event_respond does, and with GOSSIP_ALREADY_ACKNOWLEDGED if it was acknowledged before; after a failure
// to send it can be tried again.
//
// Thread-safe. Does not block.
gossip_result gossip_event_ack(const struct gossip_event *event,
                               const char *text,
                               struct gossip_error **error);

// Another handle on the same event: what turns one that is lent into one of one's own. To be freed with
// gossip_event_free.
gossip_result gossip_event_clone(const struct gossip_event *event,
                                 struct gossip_event **clone,
                                 struct gossip_error **error);

// Frees it. NULL is nothing; one that is lent is not to be freed.
void gossip_event_free(struct gossip_event *event);

// The next message or event. To be freed with gossip_event_free. Blocks for at most `timeout`; 0 does not block.
// GOSSIP_TIMEOUT: there is none yet. GOSSIP_STOPPED: what it came from was stopped and everything left was received, or
// the subscription was closed.
//
// Thread-safe.
gossip_result gossip_subscription_recv(const struct gossip_subscription *subscription,
                                       gossip_duration timeout,
                                       struct gossip_event **event,
                                       struct gossip_error **error);

// A file descriptor that is readable while there is something to receive, and from the end on: for poll, epoll, kqueue and
// what is built on them. When it is readable, call gossip_subscription_recv with timeout 0, once or until it says
// GOSSIP_TIMEOUT; only then it stops being readable. It may be readable with nothing to receive. It belongs to the
// subscription: only poll it, do not read from it or close it, and forget it before the subscription is freed.
//
// Thread-safe. Does not block.
gossip_result gossip_subscription_fd(const struct gossip_subscription *subscription,
                                     int *fd,
                                     struct gossip_error **error);

// Has every event given to `callback`, one at a time, on a thread of this subscription's own, named `gossip-callback`. The
// callback may take long, may call the library, may stop what the subscription is of, and may free the subscription (from
// then on it is not called again). `free` is called on `user` afterwards. A subscription has one callback at most, and
// whoever receives from it meanwhile takes what the callback does not get.
//
// Does not block.
gossip_result gossip_subscription_set_callback(const struct gossip_subscription *subscription,
                                               gossip_event_callback callback,
                                               void *user,
                                               gossip_free_callback free,
                                               struct gossip_error **error);

// Ends it, and frees what waits in it: who waits in gossip_subscription_recv gets GOSSIP_STOPPED, a callback its last call,
// and no connection waits for room in it any more. It is still to be freed.
//
// Thread-safe. Does not block.
void gossip_subscription_close(const struct gossip_subscription *subscription);

// How many matching messages or events it did not get because it was full.
//
// Thread-safe. Does not block.
uint64_t gossip_subscription_missed(const struct gossip_subscription *subscription);

// How many wait to be received.
//
// Thread-safe. Does not block.
size_t gossip_subscription_len(const struct gossip_subscription *subscription);

// Frees it, and what waits in it. With a callback it blocks until that has returned, and after it the callback is not called
// again; from within the callback it does not block. May come before or after the comm or node that it is of. NULL is
// nothing.
void gossip_subscription_free(struct gossip_subscription *subscription);

// Starts one. `crypto` and `config` stay the caller's. Without an address to listen on it only dials. To be freed with
// gossip_comm_free.
//
// GOSSIP_CONFIG, GOSSIP_IDENTITY and others: a wrong setting, an identity of our own that is not valid, an address that
// cannot be listened on. GOSSIP_SIGNATURE: a first signature does not match our own identity.
gossip_result gossip_comm_start(const struct gossip_crypto *crypto,
                                const struct gossip_config *config,
                                struct gossip_comm **comm,
                                struct gossip_error **error);

// The address that it listens on, `host:port` with the real port; empty if it does not listen.
//
// Does not block.
struct gossip_str gossip_comm_local_addr(const struct gossip_comm *comm);

// Our own PKI-ID.
//
// Does not block.
struct gossip_bytes gossip_comm_pki_id(const struct gossip_comm *comm);

// Queues a message for each peer, in order per peer; who is not connected is dialled. What was accepted is later written or
// reported (GOSSIP_EVENT_UNDELIVERED); only an acknowledgement proves that it was delivered. `message` and `peers` stay the
// caller's.
//
// Some peers not accepted: the code is the first one's, and the error has a part for each; the others got it. GOSSIP_FULL:
// the queue to the peer is full; GOSSIP_TOO_LARGE; GOSSIP_STOPPED; GOSSIP_CONFIG.
//
// Does not block.
gossip_result gossip_comm_send(const struct gossip_comm *comm,
                               const struct gossip_message *message,
                               const struct gossip_peer *peers,
                               size_t peer_count,
                               struct gossip_error **error);

// As gossip_comm_send, but waits up to `timeout` for room in the peers' queues.
gossip_result gossip_comm_send_timeout(const struct gossip_comm *comm,
                                       const struct gossip_message *message,
                                       gossip_duration timeout,
                                       const struct gossip_peer *peers,
                                       size_t peer_count,
                                       struct gossip_error **error);

// Sends a message to all peers, with a fresh nonce and unsigned, and waits until `min_ack` of them have acknowledged it, or
// every one has answered or failed, or `timeout` has passed. GOSSIP_OK: at least `min_ack` have; how many is written to
// `acks`, if that is not NULL. Otherwise the code is that of the first peer in the array that did not, and the error has a
// part for each: GOSSIP_NACK (its own error), GOSSIP_TIMEOUT, GOSSIP_UNREACHABLE and others.
//
// Blocks for at most `timeout`.
gossip_result gossip_comm_send_with_ack(const struct gossip_comm *comm,
                                        const struct gossip_message *message,
                                        gossip_duration timeout,
                                        size_t min_ack,
                                        const struct gossip_peer *peers,
                                        size_t peer_count,
                                        size_t *acks,
                                        struct gossip_error **error);

// Queues a message for a peer, with a fresh nonce and unsigned, and gives a handle on its acknowledgement: any number can be
// under way. To be freed with gossip_ack_handle_free. GOSSIP_FULL and others: the message was not queued.
//
// Blocks for at most `timeout`, and only while the queue to the peer is full.
gossip_result gossip_comm_send_tracked(const struct gossip_comm *comm,
                                       const struct gossip_message *message,
                                       gossip_duration timeout,
                                       const struct gossip_peer *peer,
                                       struct gossip_ack_handle **ack,
                                       struct gossip_error **error);

// Connects to a peer now, if it is not connected, without sending it anything. `confirmed`, which may be NULL, gets whether
// the peer has shown that it accepts us; one that refuses us is an error.
//
// Blocks for at most `timeout`.
gossip_result gossip_comm_connect(const struct gossip_comm *comm,
                                  const struct gossip_peer *peer,
                                  gossip_duration timeout,
                                  bool *confirmed,
                                  struct gossip_error **error);

// Waits until everything that was accepted is written or reported. GOSSIP_TIMEOUT: it is not yet.
//
// Blocks for at most `timeout`.
gossip_result gossip_comm_flush(const struct gossip_comm *comm, gossip_duration timeout, struct gossip_error **error);

// Checks that somebody answers a Ping at the peer's endpoint: a new connection, no authentication.
//
// Blocks for at most `comm.dial_timeout` and `comm.conn_timeout`.
gossip_result gossip_comm_probe(const struct gossip_comm *comm,
                                const struct gossip_peer *peer,
                                struct gossip_error **error);

// Asks who is at the peer's endpoint, and whether it accepts us: a new connection and the whole handshake, after which
// neither side keeps a connection, but both know the other's identity. With a PKI-ID, it must be that one. `who` gets a list
// of one, to be freed with gossip_connection_list_free; `confirmed`, which may be NULL, whether the peer said that it
// accepts us (one that refuses makes this fail, one that does neither leaves it false).
//
// Blocks for at most `comm.dial_timeout` and three times `comm.conn_timeout`.
gossip_result gossip_comm_handshake(const struct gossip_comm *comm,
                                    const struct gossip_peer *peer,
                                    struct gossip_connection_list **who,
                                    bool *confirmed,
                                    struct gossip_error **error);

// Subscribes to received messages (GOSSIP_EVENT_MESSAGE): those that `predicate` wants, all if it is NULL. Acknowledgements
// are not among them. `options` may be NULL. `user` is handed to the predicate, and freed with `free`, which may be NULL,
// when nothing needs it any more. To be freed with gossip_subscription_free.
//
// A subscription that is not read holds up the connections that it gets messages from, as its options say.
//
// Does not block.
gossip_result gossip_comm_accept(const struct gossip_comm *comm,
                                 const struct gossip_subscription_options *options,
                                 gossip_predicate predicate,
                                 void *user,
                                 gossip_free_callback free,
                                 struct gossip_subscription **subscription,
                                 struct gossip_error **error);

// Subscribes to what happens to connections and accepted messages, from now on. What is not received in time is dropped and
// counted. To be freed with gossip_subscription_free.
//
// Does not block.
gossip_result gossip_comm_events(const struct gossip_comm *comm,
                                 struct gossip_subscription **subscription,
                                 struct gossip_error **error);

// Subscribes to the peers that could not be reached for a send, or not again after their connection was lost
// (GOSSIP_EVENT_PRESUMED_DEAD), from now on. A hundred wait; more are dropped and counted. To be freed with
// gossip_subscription_free.
//
// Does not block.
gossip_result gossip_comm_presumed_dead(const struct gossip_comm *comm,
                                        struct gossip_subscription **subscription,
                                        struct gossip_error **error);

// Closes the connection to a peer and forgets it; what is queued for it is still written, within `comm.conn_timeout`, and
// what is not is reported. An unknown peer is no error.
//
// Does not block.
gossip_result gossip_comm_close(const struct gossip_comm *comm,
                                const struct gossip_peer *peer,
                                struct gossip_error **error);

// Who is connected now. To be freed with gossip_connection_list_free.
//
// Does not block.
gossip_result gossip_comm_connections(const struct gossip_comm *comm,
                                      struct gossip_connection_list **list,
                                      struct gossip_error **error);

// The identity behind a PKI-ID. To be freed with gossip_buffer_free. GOSSIP_IDENTITY: it is not known.
//
// Does not block.
gossip_result gossip_comm_identity(const struct gossip_comm *comm,
                                   const uint8_t *pki_id,
                                   size_t pki_id_len,
                                   struct gossip_buffer **identity,
                                   struct gossip_error **error);

// The organisation behind a PKI-ID, its MSP id. To be freed with gossip_buffer_free. GOSSIP_IDENTITY: it is not known.
//
// Does not block.
gossip_result gossip_comm_org(const struct gossip_comm *comm,
                              const uint8_t *pki_id,
                              size_t pki_id_len,
                              struct gossip_buffer **org,
                              struct gossip_error **error);

// The counters and gauges at this moment. To be freed with gossip_metrics_free.
//
// Does not block.
gossip_result gossip_comm_metrics(const struct gossip_comm *comm,
                                  struct gossip_metrics **metrics,
                                  struct gossip_error **error);

// Stops: nothing more is accepted, connections end so that what was written arrives, what was only queued is written within
// `drain` or reported, subscriptions end once they are read empty, and every thread is joined. May be called several times;
// a further call waits for the first. The handle is still to be freed. GOSSIP_TIMEOUT: not everything was written within
// `drain`; it has stopped all the same.
//
// Blocks for at most `drain`, `comm.conn_timeout` and, with a peer that is frozen with its socket full,
// `transport.keepalive_timeout`. Called in a predicate, a crypto callback or the log callback it returns at once, and another
// thread does the work.
gossip_result gossip_comm_stop(const struct gossip_comm *comm,
                               gossip_duration drain,
                               struct gossip_error **error);

// Frees the handle. The last one on a comm stops it, as gossip_comm_stop without drain. NULL is nothing.
void gossip_comm_free(struct gossip_comm *comm);

// Waits up to `timeout` (0: not at all) until the peer has answered, or the message is known not to get through to it.
// GOSSIP_OK: acknowledged. GOSSIP_TIMEOUT: neither yet, ask again. GOSSIP_NACK: the peer's own error. Anything else: why the
// message did not get through. The answer is given once.
//
// Thread-safe. Blocks for at most `timeout`.
gossip_result gossip_ack_handle_wait(const struct gossip_ack_handle *ack,
                                     gossip_duration timeout,
                                     struct gossip_error **error);

// The message's nonce, by which it is acknowledged.
//
// Thread-safe. Does not block.
uint64_t gossip_ack_handle_nonce(const struct gossip_ack_handle *ack);

// Frees it: the message is still sent, its acknowledgement ignored. NULL is nothing.
void gossip_ack_handle_free(struct gossip_ack_handle *ack);

// Starts one: listens, contacts the bootstrap peers, keeps the membership from then on. Does not wait for anybody
// (gossip_node_wait_for_members does). `crypto` and `config` stay the caller's. `notices`, which may be NULL, gets a
// subscription as of gossip_node_notices, from the very start. To be freed with gossip_node_free.
//
// GOSSIP_CONFIG, GOSSIP_IDENTITY and others: a wrong setting or endpoint, an identity of our own that is not valid or of no
// known organisation, an address that cannot be listened on. A wrong bootstrap endpoint is no error: it is told as
// GOSSIP_EVENT_SEED_FAILED, and the others are contacted. GOSSIP_SIGNATURE: a first signature does not match our own
// identity.
gossip_result gossip_node_start(const struct gossip_crypto *crypto,
                                const struct gossip_config *config,
                                struct gossip_subscription **notices,
                                struct gossip_node **node,
                                struct gossip_error **error);

// The communication layer under it. To be freed with gossip_comm_free; stopping it stops the node's too, freeing it does
// not.
//
// Does not block.
gossip_result gossip_node_comm(const struct gossip_node *node,
                               struct gossip_comm **comm,
                               struct gossip_error **error);

// Ourselves, as others see us: a list of one, to be freed with gossip_member_list_free.
//
// Does not block.
gossip_result gossip_node_self(const struct gossip_node *node,
                               struct gossip_member_list **list,
                               struct gossip_error **error);

// The members that are alive, without ourselves. To be freed with gossip_member_list_free.
//
// Does not block.
gossip_result gossip_node_peers(const struct gossip_node *node,
                                struct gossip_member_list **list,
                                struct gossip_error **error);

// The members that died and are remembered. To be freed with gossip_member_list_free.
//
// Does not block.
gossip_result gossip_node_dead(const struct gossip_node *node,
                               struct gossip_member_list **list,
                               struct gossip_error **error);

// A member, alive or dead, or ourselves, by its PKI-ID: a list of one, or an empty one if it is not known. To be freed with
// gossip_member_list_free.
//
// Does not block.
gossip_result gossip_node_lookup(const struct gossip_node *node,
                                 const uint8_t *pki_id,
                                 size_t pki_id_len,
                                 struct gossip_member_list **list,
                                 struct gossip_error **error);

// The peers that are alive and in a channel. To be freed with gossip_member_list_free. GOSSIP_INVALID_ARGUMENT: we were never
// in this channel.
//
// Does not block.
gossip_result gossip_node_channel_peers(const struct gossip_node *node,
                                        const char *channel,
                                        struct gossip_member_list **list,
                                        struct gossip_error **error);

// The bootstrap and anchor peers, and what else was to be connected to. None is ever given up. To be freed with
// gossip_seed_list_free.
//
// Does not block.
gossip_result gossip_node_seeds(const struct gossip_node *node,
                                struct gossip_seed_list **list,
                                struct gossip_error **error);

// Every identity that is known, our own included. To be freed with gossip_identity_list_free.
//
// Does not block.
gossip_result gossip_node_identities(const struct gossip_node *node,
                                     struct gossip_identity_list **list,
                                     struct gossip_error **error);

// Contacts an endpoint until it has answered, whoever is there, and from then on keeps it known.
//
// GOSSIP_CONFIG: it is not `host:port`. GOSSIP_FULL: there are too many. GOSSIP_STOPPED. Does not block.
gossip_result gossip_node_connect(const struct gossip_node *node, const char *endpoint, struct gossip_error **error);

// Asks up to `count` random members for theirs, now.
//
// Does not block.
gossip_result gossip_node_initiate_sync(const struct gossip_node *node, size_t count, struct gossip_error **error);

// Says something else about ourselves, from the next alive message on (within `discovery.alive_time_interval`). The bytes
// are copied.
//
// Does not block.
gossip_result gossip_node_update_metadata(const struct gossip_node *node,
                                          const uint8_t *data,
                                          size_t len,
                                          struct gossip_error **error);

// Changes our external endpoint, from the next alive message on; empty if other organisations shall not reach us.
//
// GOSSIP_CONFIG: it is not `host:port`. Does not block.
gossip_result gossip_node_update_endpoint(const struct gossip_node *node,
                                          const char *endpoint,
                                          struct gossip_error **error);

// Validates those identities anew that `suspect` picks, all if it is NULL; who is no longer valid is forgotten, and its
// connection closed. To be called when a revocation list or the organisations change. `suspect` is called by this thread.
//
// Blocks while it validates.
gossip_result gossip_node_suspect_peers(const struct gossip_node *node,
                                        gossip_identity_predicate suspect,
                                        void *user,
                                        struct gossip_error **error);

// Begins the organisations of a channel. To be freed with gossip_channel_orgs_free.
gossip_result gossip_channel_orgs_new(struct gossip_channel_orgs **orgs, struct gossip_error **error);

// Adds an organisation, by its MSP id.
gossip_result gossip_channel_orgs_add(struct gossip_channel_orgs *orgs, const char *mspid, struct gossip_error **error);

// Adds an anchor peer to an organisation, which is added if it was not.
gossip_result gossip_channel_orgs_add_anchor(struct gossip_channel_orgs *orgs,
                                             const char *mspid,
                                             const char *host,
                                             uint16_t port,
                                             struct gossip_error **error);

// Frees it. NULL is nothing.
void gossip_channel_orgs_free(struct gossip_channel_orgs *orgs);

// Joins a channel, or takes note of its new organisations and anchor peers: `orgs` is as the channel's configuration has
// them, verified by the caller, and stays the caller's.
//
// GOSSIP_FULL: too many channels. GOSSIP_STOPPED. Does not block.
gossip_result gossip_node_join_channel(const struct gossip_node *node,
                                       const char *channel,
                                       const struct gossip_channel_orgs *orgs,
                                       struct gossip_error **error);

// Leaves a channel: its members are told, its messages not taken any more.
//
// GOSSIP_CONFIG: we are not in it. Does not block.
gossip_result gossip_node_leave_channel(const struct gossip_node *node,
                                        const char *channel,
                                        struct gossip_error **error);

// Tells the members of a channel how many blocks we have.
//
// GOSSIP_CONFIG: we are not in it. Does not block.
gossip_result gossip_node_update_ledger_height(const struct gossip_node *node,
                                               const char *channel,
                                               uint64_t height,
                                               struct gossip_error **error);

// Spreads a block of a channel to its members in our organisation; each that gets it passes it on. The message is sent
// unsigned, as blocks are in Fabric.
//
// GOSSIP_PROTOCOL: it is nothing that is gossiped. GOSSIP_CONFIG: we are not in its channel. GOSSIP_TOO_LARGE,
// GOSSIP_STOPPED. Does not block.
gossip_result gossip_node_gossip(const struct gossip_node *node,
                                 const struct gossip_message *message,
                                 struct gossip_error **error);

// Sends a message to these peers; see gossip_comm_send.
//
// Does not block.
gossip_result gossip_node_send(const struct gossip_node *node,
                               const struct gossip_message *message,
                               const struct gossip_peer *peers,
                               size_t peer_count,
                               struct gossip_error **error);

// Sends a message to at most `max_peers` of the members, of those in `channel` if that is not NULL, and waits until
// `min_ack` of them have acknowledged it. Fabric's SendByCriteria. `timeout` must not be 0; with `max_peers` 0 it is sent to
// nobody, which is no error.
//
// GOSSIP_CONFIG: no timeout, no such channel, fewer suitable members than have to acknowledge. GOSSIP_NACK: too few
// acknowledged; the text says what became of the others. Blocks for at most `timeout`.
gossip_result gossip_node_send_by_criteria(const struct gossip_node *node,
                                           const struct gossip_message *message,
                                           gossip_duration timeout,
                                           size_t min_ack,
                                           size_t max_peers,
                                           const char *channel,
                                           struct gossip_error **error);

// Subscribes to what is gossiped to us (GOSSIP_EVENT_GOSSIPED): the blocks of our channels, each once; those that
// `predicate` wants, all if it is NULL. It runs on the node's own thread. What has no room is dropped and counted. `options`
// may be NULL. `user` is handed to the predicate, and freed with `free`, which may be NULL, when nothing needs it any more.
// To be freed with gossip_subscription_free. (Whatever else comes in, gossip_comm_accept has.)
//
// Does not block.
gossip_result gossip_node_accept(const struct gossip_node *node,
                                 const struct gossip_subscription_options *options,
                                 gossip_predicate predicate,
                                 void *user,
                                 gossip_free_callback free,
                                 struct gossip_subscription **subscription,
                                 struct gossip_error **error);

// Subscribes to what happens in the network, from now on: who comes, changes, dies and is forgotten, seeds that cannot be
// had, identities that are replaced or expire. What is not received in time is dropped and counted. To be freed with
// gossip_subscription_free.
//
// Does not block.
gossip_result gossip_node_notices(const struct gossip_node *node,
                                  struct gossip_subscription **subscription,
                                  struct gossip_error **error);

// Waits until at least `count` other members are alive. GOSSIP_TIMEOUT says how many there are, and what keeps the seeds.
//
// Blocks for at most `timeout`.
gossip_result gossip_node_wait_for_members(const struct gossip_node *node,
                                           size_t count,
                                           gossip_duration timeout,
                                           struct gossip_error **error);

// The counters and gauges at this moment, those of its communication layer among them. To be freed with
// gossip_metrics_free.
//
// Does not block.
gossip_result gossip_node_metrics(const struct gossip_node *node,
                                  struct gossip_metrics **metrics,
                                  struct gossip_error **error);

// Stops: nothing is sent any more, subscriptions end once they are read empty, connections end so that what was written
// arrives, and every thread is joined. May be called several times; a further call waits for the first. The handle is still
// to be freed.
//
// Blocks as long as gossip_comm_stop does, and for the verifications that are under way. Called in a predicate, a block
// verifier, a crypto callback or the log callback it returns at once, and another thread does the work.
gossip_result gossip_node_stop(const struct gossip_node *node,
                               struct gossip_error **error);

// Frees the handle, and stops the node if it is not stopped. NULL is nothing.
void gossip_node_free(struct gossip_node *node);

// How many there are.
//
// Thread-safe. Does not block.
size_t gossip_member_list_len(const struct gossip_member_list *list);

// One of them, by its place from 0 on.
//
// Thread-safe. Does not block.
gossip_result gossip_member_list_at(const struct gossip_member_list *list,
                                    size_t index,
                                    struct gossip_member *member,
                                    struct gossip_error **error);

// Frees the list. NULL is nothing.
void gossip_member_list_free(struct gossip_member_list *list);

// How many there are.
//
// Thread-safe. Does not block.
size_t gossip_connection_list_len(const struct gossip_connection_list *list);

// One of them, by its place from 0 on.
//
// Thread-safe. Does not block.
gossip_result gossip_connection_list_at(const struct gossip_connection_list *list,
                                        size_t index,
                                        struct gossip_connection *connection,
                                        struct gossip_error **error);

// Frees the list. NULL is nothing.
void gossip_connection_list_free(struct gossip_connection_list *list);

// How many there are.
//
// Thread-safe. Does not block.
size_t gossip_identity_list_len(const struct gossip_identity_list *list);

// One of them, by its place from 0 on.
//
// Thread-safe. Does not block.
gossip_result gossip_identity_list_at(const struct gossip_identity_list *list,
                                      size_t index,
                                      struct gossip_identity *identity,
                                      struct gossip_error **error);

// Frees the list. NULL is nothing.
void gossip_identity_list_free(struct gossip_identity_list *list);

// How many there are.
//
// Thread-safe. Does not block.
size_t gossip_seed_list_len(const struct gossip_seed_list *list);

// One of them, by its place from 0 on.
//
// Thread-safe. Does not block.
gossip_result gossip_seed_list_at(const struct gossip_seed_list *list,
                                  size_t index,
                                  struct gossip_seed *seed,
                                  struct gossip_error **error);

// Frees the list. NULL is nothing.
void gossip_seed_list_free(struct gossip_seed_list *list);

// All of them in Prometheus' text format, version 0.0.4: what to serve it with is the host's.
//
// Does not block.
struct gossip_str gossip_metrics_prometheus(const struct gossip_metrics *metrics);

// How many values there are.
//
// Does not block.
size_t gossip_metrics_count(const struct gossip_metrics *metrics);

// The name of a value by its place from 0 on, with its labels, such as `gossip_comm_messages_sent` or
// `gossip_membership_total_peers_known{channel="mychannel"}`; empty beyond the last one.
//
// Does not block.
struct gossip_str gossip_metrics_name(const struct gossip_metrics *metrics, size_t index);

// A value by its name, with its labels. GOSSIP_INVALID_ARGUMENT: there is none of this name.
//
// Does not block.
gossip_result gossip_metrics_value(const struct gossip_metrics *metrics,
                                   const char *name,
                                   double *value,
                                   struct gossip_error **error);

// Frees it. NULL is nothing.
void gossip_metrics_free(struct gossip_metrics *metrics);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FABRIC_GOSSIP_H */
