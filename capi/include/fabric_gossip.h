// fabric-gossip: Hyperledger Fabric's gossip networking for programs that are not async.
// SPDX-License-Identifier: Apache-2.0
//
// docs/c-interface.md is the guide. The following holds for all functions:
//
// Results. A function that can fail returns a gossip_result; GOSSIP_OK is 0. Its last argument is the location for an
// error and may be NULL. After a failure that location holds the error, which is freed with gossip_error_free; after a
// success it holds NULL. Other outputs come before it and are written only after a success. Earlier contents of an
// output location are overwritten, not freed. After a failure the arguments belong to the caller as before.
//
// Handles. A type of which only the name is declared is a handle. It belongs to the caller from the function that
// creates it until its _free function, to which passing NULL is a no-op. Handles may be freed in any order: a handle
// that depends on another one keeps what it needs. A handle must be freed once, and while no other thread uses it.
// `const` before a handle means that several threads can call the function at the same time on the same handle; handles
// without `const` (configurations) are for one thread at a time.
//
// Lent data. A result of type gossip_str or gossip_bytes, or a handle with `const`, belongs to the handle that it was
// requested from, and is valid until that handle is freed. The arguments of a callback are valid until it returns.
//
// Text arguments end with a zero byte and are UTF-8. Bytes are a pointer and a length; the pointer may be NULL if the
// length is 0. Both are copied. Returned text is a gossip_str. In structures with a `size`, set it to their sizeof, and
// zero the fields that are not used.
//
// Time spans are in nanoseconds: 5 * GOSSIP_SECOND. GOSSIP_FOREVER means no limit.
//
// Threads. Functions may be called on any thread, also from callbacks, unless they say otherwise. They block only where
// they say so. Callbacks are called on the library's threads, never with a lock of the library held, and may call the
// library; the log callback may call only a small part of it. They must return, without exception or longjmp.
//
// Misuse that can be detected is an error: NULL, text that is not UTF-8, absurd lengths, numbers that are not in an
// enumeration. A freed handle, or a pointer to something else, cannot be detected.
//
// fork: only before the first call, or followed by exec immediately in the child. Signals: the library neither handles
// nor blocks signals; its threads inherit the mask of the thread that started them. It never raises SIGPIPE.


#ifndef FABRIC_GOSSIP_H
#define FABRIC_GOSSIP_H

// Generated from capi/src by cargo xtask header; changes belong there.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Units for time spans.
#define GOSSIP_MICROSECOND UINT64_C(1000)
#define GOSSIP_MILLISECOND UINT64_C(1000000)
#define GOSSIP_SECOND UINT64_C(1000000000)
// No limit, as a timeout.
#define GOSSIP_FOREVER UINT64_MAX


// Major version of the library that this header belongs to. A different one means a different interface. (Before 1.0
// the same applies to the minor version.)
#define GOSSIP_VERSION_MAJOR 0

// Minor version. A larger one has additions.
#define GOSSIP_VERSION_MINOR 1

// Patch version.
#define GOSSIP_VERSION_PATCH 0

// Result of a call. Numbers are never reused, and new ones are added at the end: a program must expect numbers that it
// does not know.
enum gossip_result
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Success.
    GOSSIP_OK = 0,
    // A required pointer is NULL. Nothing was attempted.
    GOSSIP_NULL_POINTER = 1,
    // A text is not UTF-8. Nothing was attempted.
    GOSSIP_INVALID_UTF8 = 2,
    // An argument is invalid: an unknown name, a number out of range, a structure of unknown size. Nothing was
    // attempted.
    GOSSIP_INVALID_ARGUMENT = 3,
    // An internal fault of the library, from which it recovered. Please report it.
    GOSSIP_PANIC = 4,
    // A setting or file is wrong. Nothing was attempted.
    GOSSIP_CONFIG = 100,
    // The component was stopped, or the subscription has ended and everything left in it was received.
    GOSSIP_STOPPED = 101,
    // A time limit passed.
    GOSSIP_TIMEOUT = 102,
    // No connection could be made: nothing listens at the address, the name is unknown, TLS failed, or the peer does
    // not answer.
    GOSSIP_UNREACHABLE = 103,
    // The connection ended: closed by the peer, lost, or closed by us.
    GOSSIP_DISCONNECTED = 104,
    // The peer refused us, or we refused the peer: authentication failed, or the peer ended the stream with an error.
    GOSSIP_REFUSED = 105,
    // The peer violated the protocol, or a message is malformed.
    GOSSIP_PROTOCOL = 106,
    // An identity is unknown, invalid, expired or not the expected one.
    GOSSIP_IDENTITY = 107,
    // A signature is missing, malformed or wrong.
    GOSSIP_SIGNATURE = 108,
    // A bounded queue or table is full. A later attempt may succeed.
    GOSSIP_FULL = 109,
    // A message exceeds a size limit.
    GOSSIP_TOO_LARGE = 110,
    // The peer acknowledged the message with an error.
    GOSSIP_NACK = 111,
    // This message was already acknowledged.
    GOSSIP_ALREADY_ACKNOWLEDGED = 112,
    // The cryptography library, the operating system or the C core failed for a reason that no input caused.
    GOSSIP_INTERNAL = 113,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_result gossip_result;
#else
typedef uint32_t gossip_result;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Severity of a log line.
enum gossip_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // As a limit: no lines.
    GOSSIP_LOG_OFF = 0,
    // An error.
    GOSSIP_LOG_ERROR = 1,
    // A possible error.
    GOSSIP_LOG_WARN = 2,
    // Information for operators.
    GOSSIP_LOG_INFO = 3,
    // Information for developers.
    GOSSIP_LOG_DEBUG = 4,
    // All lines.
    GOSSIP_LOG_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_log_level gossip_log_level;
#else
typedef uint32_t gossip_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Content type of a message: the field number in Fabric's `GossipMessage`.
enum gossip_content
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // No content, or an unknown one.
    GOSSIP_CONTENT_NONE = 0,
    // An alive message of a member.
    GOSSIP_CONTENT_ALIVE = 5,
    // Requests the membership.
    GOSSIP_CONTENT_MEMBERSHIP_REQUEST = 6,
    // The membership.
    GOSSIP_CONTENT_MEMBERSHIP_RESPONSE = 7,
    // A block.
    GOSSIP_CONTENT_DATA = 8,
    // Pull: hello.
    GOSSIP_CONTENT_HELLO = 9,
    // Pull: digests of the available items.
    GOSSIP_CONTENT_DATA_DIGEST = 10,
    // Pull: requests items.
    GOSSIP_CONTENT_DATA_REQUEST = 11,
    // Pull: the requested items.
    GOSSIP_CONTENT_DATA_UPDATE = 12,
    // An empty message.
    GOSSIP_CONTENT_EMPTY = 13,
    // Authenticates a connection.
    GOSSIP_CONTENT_CONN = 14,
    // State of a channel at one peer.
    GOSSIP_CONTENT_STATE_INFO = 15,
    // A list of state messages.
    GOSSIP_CONTENT_STATE_SNAPSHOT = 16,
    // Requests state messages.
    GOSSIP_CONTENT_STATE_INFO_PULL_REQUEST = 17,
    // Requests blocks.
    GOSSIP_CONTENT_STATE_REQUEST = 18,
    // The requested blocks.
    GOSSIP_CONTENT_STATE_RESPONSE = 19,
    // Election of a leader.
    GOSSIP_CONTENT_LEADERSHIP = 20,
    // An identity.
    GOSSIP_CONTENT_PEER_IDENTITY = 21,
    // An acknowledgement.
    GOSSIP_CONTENT_ACK = 22,
    // Requests private data.
    GOSSIP_CONTENT_PRIVATE_REQUEST = 23,
    // The requested private data.
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

// Kind of an event. New kinds may be added: a program must ignore those that it does not know.
enum gossip_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // No event: the pointer is NULL.
    GOSSIP_EVENT_NONE = 0,
    // A message from a connected peer (gossip_comm_accept). Has the message, and the sender's PKI-ID, identity and
    // socket address. Can be answered with gossip_event_respond and gossip_event_ack.
    GOSSIP_EVENT_MESSAGE = 1,
    // A block of one of our channels, delivered once (gossip_node_accept). Has the message, and the PKI-ID of the peer
    // that sent it to us.
    GOSSIP_EVENT_GOSSIPED = 2,
    // A peer has connected. Has its PKI-ID, identity and socket address. The text is the endpoint that we dialled;
    // empty if the peer dialled us.
    GOSSIP_EVENT_CONNECTED = 10,
    // A peer is no longer connected. Has its PKI-ID, identity and socket address. The text is the reason.
    GOSSIP_EVENT_DISCONNECTED = 11,
    // An authentication failed: we refused an inbound peer (gossip_event_inbound), or a peer refused us afterwards.
    // Has the endpoint, the error, and the PKI-ID if it was received.
    GOSSIP_EVENT_REFUSED = 12,
    // Connecting to a peer failed. Has the endpoint and PKI-ID as they were given to us, and the error.
    GOSSIP_EVENT_DIAL_FAILED = 13,
    // Accepted messages will not be delivered, because they could not be written or because the peer refused us
    // afterwards. Has the endpoint, PKI-ID, error and messages.
    GOSSIP_EVENT_UNDELIVERED = 14,
    // A peer authenticated with a different identity of the same organisation than expected. The PKI-ID is the old
    // one; gossip_event_new_pki_id returns the new one.
    GOSSIP_EVENT_IDENTITY_SWITCH = 15,
    // A peer could not be reached for a send, or not reached again after its connection was lost. Has the PKI-ID.
    GOSSIP_EVENT_PRESUMED_DEAD = 16,
    // A connection was closed without confirmation that the peer has read everything that was written to it. Has the
    // PKI-ID, identity and socket address. The text is the reason, with the number of messages that were written.
    GOSSIP_EVENT_UNCONFIRMED = 17,
    // A thread could not be started, and the operation that needed it has failed. Has the error.
    GOSSIP_EVENT_OUT_OF_THREADS = 18,
    // Nodes: a member is alive, either new or back again. Has the member.
    GOSSIP_EVENT_MEMBER_ALIVE = 30,
    // Nodes: an alive member has changed its endpoint or metadata. Has the member.
    GOSSIP_EVENT_MEMBER_UPDATED = 31,
    // Nodes: a member is no longer alive. Has the member.
    GOSSIP_EVENT_MEMBER_DEAD = 32,
    // Nodes: a known member was removed from the membership. Has the member.
    GOSSIP_EVENT_MEMBER_FORGOTTEN = 33,
    // Nodes: a bootstrap or anchor peer could not be contacted; it will be tried again. Has the endpoint. The text is
    // the reason.
    GOSSIP_EVENT_SEED_FAILED = 34,
    // Nodes: our own identity expires soon or has expired. See gossip_event_remaining.
    GOSSIP_EVENT_IDENTITY_EXPIRES = 35,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_event_kind gossip_event_kind;
#else
typedef uint32_t gossip_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Kind of a PEM file of an MSP, with the folder that Fabric keeps it in.
enum gossip_msp_part
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // A root authority, `cacerts/`. At least one is required.
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

// A role that members have by their organisational unit (NodeOUs).
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

// Version of Fabric's MSP rules. Channels choose it by their capabilities; a local MSP has the latest.
enum gossip_msp_version
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Without NodeOUs.
    GOSSIP_MSP_V1_0 = 100,
    // NodeOUs for clients and peers.
    GOSSIP_MSP_V1_1 = 101,
    // Same as 1.1 for X.509.
    GOSSIP_MSP_V1_3 = 103,
    // NodeOUs for clients, peers, admins and orderers.
    GOSSIP_MSP_V1_4_3 = 143,
    // Also Ed25519 keys. The default.
    GOSSIP_MSP_V3_0 = 300,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_msp_version gossip_msp_version;
#else
typedef uint32_t gossip_msp_version;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Behaviour of a full subscription for a new item.
enum gossip_when_full
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The connection that the item came from waits for space, for at most `wait`. After a wait without success the
    // subscription drops items until it has space again. (Subscriptions of nodes always drop.)
    GOSSIP_WAIT = 0,
    // The item is dropped and counted.
    GOSSIP_DROP = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gossip_when_full gossip_when_full;
#else
typedef uint32_t gossip_when_full;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A message sent to one peer, whose acknowledgement is awaited.
typedef struct gossip_ack_handle gossip_ack_handle;

// Bytes that belong to the caller.
typedef struct gossip_buffer gossip_buffer;

// A snapshot of the members of a channel.
typedef struct gossip_channel_member_list gossip_channel_member_list;

// The organisations of a channel with their anchor peers, for gossip_node_join_channel. Not thread-safe.
typedef struct gossip_channel_orgs gossip_channel_orgs;

// The communication layer: authenticated connections to peers, with messages and acknowledgements over them. Every
// function is thread-safe.
typedef struct gossip_comm gossip_comm;

// Settings for starting comms and nodes, initially Fabric's defaults. Not thread-safe. Can be used for any number of
// comms and nodes.
typedef struct gossip_config gossip_config;

// A snapshot of connections.
typedef struct gossip_connection_list gossip_connection_list;

// Our own identity and key, and the organisations that we trust. Can be used for any number of comms and nodes, and
// changed while they run.
typedef struct gossip_crypto gossip_crypto;

// Details of a failure: a code to branch on, a human-readable message, and parts. For a call that concerns several
// peers there is one part for each peer that failed.
typedef struct gossip_error gossip_error;

// A received message or an event. Immutable; every function that reads it is thread-safe and does not block.
typedef struct gossip_event gossip_event;

// A snapshot of identities.
typedef struct gossip_identity_list gossip_identity_list;

// A snapshot of members.
typedef struct gossip_member_list gossip_member_list;

// A gossip message in its envelope. Immutable; every function that reads it is thread-safe and does not block.
typedef struct gossip_message gossip_message;

// A snapshot of counters and gauges. Immutable, thread-safe.
typedef struct gossip_metrics gossip_metrics;

// An organisation, which validates its members' identities. Immutable.
typedef struct gossip_msp gossip_msp;

// Contents for an MSP built in memory. Not thread-safe.
typedef struct gossip_msp_config gossip_msp_config;

// A peer of the network: maintains the membership, pulls identities, joins channels and forwards their messages. Every
// function is thread-safe.
typedef struct gossip_node gossip_node;

// Reply of a callback. Lent for the duration of the call: the callback must not keep or free it.
typedef struct gossip_reply gossip_reply;

// A snapshot of bootstrap and anchor peers.
typedef struct gossip_seed_list gossip_seed_list;

// A queue of messages or events from the time of subscribing on. Items wait here, within its limits, until they are
// received: by gossip_subscription_recv, by a callback, or by polling its file descriptor. If several threads receive
// from the same subscription, each item goes to one of them.
typedef struct gossip_subscription gossip_subscription;

// Checked certificates in use by any number of comms and nodes; can be replaced while they run.
typedef struct gossip_tls gossip_tls;

// Certificates, keys and roots for mutual TLS, for gossip_tls_new. Not thread-safe.
typedef struct gossip_tls_config gossip_tls_config;

// Text that belongs to the handle that it was requested from, and is valid until that handle is freed. UTF-8. A zero
// byte follows the last byte, so that `data` can be printed directly. Text from other peers can contain zero bytes, so
// use `len`. Never NULL; empty if there is none.
typedef struct gossip_str {
    // The first byte.
    const char *data;
    // Length in bytes, without the zero byte at the end.
    size_t len;
} gossip_str;

// Bytes that belong to the handle that they were requested from, and are valid until that handle is freed. `data` is
// never NULL, but must not be read if `len` is 0.
typedef struct gossip_bytes {
    // The first byte.
    const uint8_t *data;
    // Length in bytes.
    size_t len;
} gossip_bytes;

// Receives a log line: its level, the part of the library that logged it, and the text. Both texts are lent for the
// duration of the call and do not end with a zero byte. Called on any thread, several at the same time, and, for lines
// of the C core, from within it. Therefore the callback may call the stop functions, which then return immediately,
// and functions that do not involve a comm, a node or a subscription; it must not call any others. Lines that the
// library logs because of the callback's own calls are discarded. It must return: no exception, no longjmp.
typedef void (*gossip_log_callback)(void *user, gossip_log_level level, struct gossip_str target, struct gossip_str text);

// Frees the data of a callback. Called once, when the library no longer needs it, on any thread.
typedef void (*gossip_free_callback)(void *user);

// Signs `message` with the key of our identity; the signature goes into `reply`. Returns false on failure.
//
// `message` is the whole message, not its digest. For X.509 identities the signature is ECDSA over the message's
// SHA-256 digest (SHA3-256 where the MSP says so), for every curve, in ASN.1 DER; or Ed25519 over the message, where
// the MSP's version allows it. S may be high: the library replaces it by n - s, since peers refuse high S. A signature
// that is not a DER ECDSA signature of our certificate's curve is passed on unchanged. For a device that signs
// digests, or that returns r and s without DER, use gossip_crypto_new_signer.
typedef bool (*gossip_sign_callback)(void *user, const uint8_t *message, size_t message_len, struct gossip_reply *reply);

// Verifies a signature over `message` under the key of `identity`. Returns false if it is wrong.
typedef bool (*gossip_verify_callback)(void *user,
                                       struct gossip_bytes identity,
                                       struct gossip_bytes signature,
                                       struct gossip_bytes message,
                                       struct gossip_reply *reply);

// Verifies a signature over `message` under the key of `identity`, which must be a reader of `channel`. Returns false
// if the signature is wrong or the identity is not a reader.
typedef bool (*gossip_verify_by_channel_callback)(void *user,
                                                  struct gossip_bytes channel,
                                                  struct gossip_bytes identity,
                                                  struct gossip_bytes signature,
                                                  struct gossip_bytes message,
                                                  struct gossip_reply *reply);

// Writes a property of an identity into `reply`: its PKI-ID or its organisation. Returns false if it has none.
typedef bool (*gossip_identity_callback)(void *user, struct gossip_bytes identity, struct gossip_reply *reply);

// Writes the time at which an identity expires into `seconds`: seconds since 1970, or INT64_MAX for never. Returns
// false if it cannot be determined.
typedef bool (*gossip_expiration_callback)(void *user,
                                           struct gossip_bytes identity,
                                           int64_t *seconds,
                                           struct gossip_reply *reply);

// Cryptography implemented by the host. Each function is called on any of the library's threads, several at the same
// time, never with a lock of the library held. It may block, and may call the library. Its arguments are lent for the
// duration of the call. It must return: no exception, no longjmp. Functions that are NULL are replaced by those of the
// MSP given to gossip_crypto_new_callbacks.
typedef struct gossip_crypto_callbacks {
    // sizeof(gossip_crypto_callbacks), so that a later version can recognise the host's version of the structure.
    size_t size;
    // Passed to each of the functions.
    void *user;
    // Called on `user` when nothing needs it any more, on any thread. May be NULL.
    gossip_free_callback free;
    // Signs a message (not a digest) with our own key, in DER; see gossip_sign_callback.
    gossip_sign_callback sign;
    // Verifies a signature.
    gossip_verify_callback verify;
    // Verifies a signature against the readers of a channel. If NULL, and without an MSP, no signature is accepted.
    gossip_verify_by_channel_callback verify_by_channel;
    // Returns the PKI-ID of an identity: its short name in the whole network.
    gossip_identity_callback pki_id;
    // Validates an identity. `reply` accepts only gossip_reply_fail.
    gossip_identity_callback validate_identity;
    // Returns the time at which an identity expires.
    gossip_expiration_callback expiration;
    // Returns the MSP id of the organisation that an identity belongs to.
    gossip_identity_callback org;
} gossip_crypto_callbacks;

// Signs a digest with the key of our identity, without hashing it again. `digest` is the 32-byte SHA-256 (SHA3-256
// where the MSP says so) of the data that the library signs. The ECDSA signature goes into `reply` with
// gossip_reply_set_der or gossip_reply_set_raw, depending on the form that the device returns; S may be high. Returns
// false on failure, with the reason given by gossip_reply_fail.
//
// Called on any of the library's threads, several at the same time, never with a lock of the library held; it may
// block.
typedef bool (*gossip_sign_digest_callback)(void *user,
                                            const uint8_t *digest,
                                            size_t digest_len,
                                            struct gossip_reply *reply);

// Decides whether a block is delivered and passed on. Returns false to reject it; gossip_reply_fail gives the reason.
// Called on the node's verifying threads, several at the same time; may block. The message is lent for the duration of
// the call.
typedef bool (*gossip_block_verifier)(void *user, const struct gossip_message *message, struct gossip_reply *reply);

// A time span in nanoseconds: `5 * GOSSIP_SECOND`.
typedef uint64_t gossip_duration;

// A peer as the membership knows it. Its fields are lent until the list or event that contains it is freed.
typedef struct gossip_member {
    // The endpoint for other organisations, `host:port`; empty if they may not reach it.
    struct gossip_str endpoint;
    // The endpoint for its own organisation; empty if it is not disclosed to us.
    struct gossip_str internal_endpoint;
    // The metadata that it publishes.
    struct gossip_bytes metadata;
    // Its PKI-ID.
    struct gossip_bytes pki_id;
} gossip_member;

// Receives events one by one, each lent for the duration of the call; gossip_event_clone keeps one. A last call with
// NULL means that the subscription has ended and no more events follow. It must return: no exception, no longjmp.
typedef void (*gossip_event_callback)(void *user, const struct gossip_event *event);

// A peer as given by a caller. Only read during the call.
typedef struct gossip_peer {
    // The endpoint to dial, `host:port` (IPv6 in brackets). May be NULL if the PKI-ID is given and the peer is
    // connected.
    const char *endpoint;
    // Its PKI-ID; NULL if it is not known.
    const uint8_t *pki_id;
    // Length of the PKI-ID in bytes; 0 for none.
    size_t pki_id_len;
} gossip_peer;

// Limits of a subscription. Set all fields except `size` to zero for the defaults.
typedef struct gossip_subscription_options {
    // sizeof(gossip_subscription_options), so that a later version can recognise the host's version of the structure.
    size_t size;
    // Maximum number of messages that wait to be received; 0 means 1,024.
    size_t capacity;
    // Maximum number of bytes that wait to be received; 0 means 16 MiB. A single larger message is accepted while
    // nothing else waits.
    size_t bytes;
    // A gossip_when_full.
    uint32_t when_full;
    // Maximum time for which a connection waits for space, in nanoseconds; 0 means one second.
    gossip_duration wait;
} gossip_subscription_options;

// Returns whether a subscription wants this event, which is lent for the duration of the call. Called on the threads
// that read the connections (for nodes: on the node's own thread), several at the same time. It must not block.
typedef bool (*gossip_predicate)(void *user, const struct gossip_event *event);

// Returns whether an identity must be validated again.
typedef bool (*gossip_identity_predicate)(void *user, struct gossip_bytes identity);

// A connection to a peer. Its fields are lent until the list that contains it is freed.
typedef struct gossip_connection {
    // The authenticated PKI-ID.
    struct gossip_bytes pki_id;
    // The identity that the peer authenticated with.
    struct gossip_bytes identity;
    // The socket address of the peer; an ephemeral port for an accepted connection.
    struct gossip_str endpoint;
} gossip_connection;

// A known identity. Its fields are lent until the list that contains it is freed.
typedef struct gossip_identity {
    // Its PKI-ID.
    struct gossip_bytes pki_id;
    // The identity as it is sent to peers.
    struct gossip_bytes identity;
    // The MSP id of its organisation; empty if none is known.
    struct gossip_str org;
} gossip_identity;

// State of a bootstrap or anchor peer. Its fields are lent until the list that contains it is freed.
typedef struct gossip_seed {
    // Its endpoint, as configured.
    struct gossip_str endpoint;
    // PKI-ID of the peer that was last found there; empty if none was.
    struct gossip_bytes pki_id;
    // Whether it has answered.
    bool connected;
    // Number of consecutive failed attempts to contact it.
    uint32_t attempts;
    // Reason of the last failure; empty once it has answered.
    struct gossip_str last_error;
    // Time until the next attempt, in nanoseconds; 0 during an attempt and once it has answered.
    gossip_duration next_attempt;
} gossip_seed;

// A peer that is alive and in a channel, with its announcement in that channel. Its fields are lent until the list that
// contains it is freed.
typedef struct gossip_channel_member {
    // The peer, as the membership knows it.
    struct gossip_member member;
    // Its ledger height: the number of blocks that it has of the channel. 0 if it announces none.
    uint64_t ledger_height;
    // Number of chaincodes that it announces; see gossip_channel_member_list_chaincode.
    size_t chaincode_count;
} gossip_channel_member;

// A chaincode that a peer announces. Its fields are lent until the list that contains it is freed. Both are unchecked:
// they can be empty, and contain control characters.
typedef struct gossip_chaincode {
    // Its name.
    struct gossip_str name;
    // Its version.
    struct gossip_str version;
} gossip_chaincode;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the version of the library at run time, such as `0.1.0`, for comparison with that of the header. Valid for
// the lifetime of the process.
//
// Thread-safe. Does not block.
struct gossip_str gossip_version(void);

// Returns the name of a code, such as `GOSSIP_TIMEOUT`; `unknown` for a number that is not a code. Valid for the
// lifetime of the process.
//
// Thread-safe. Does not block.
struct gossip_str gossip_result_name(uint32_t code);

// Returns the error's code, the same one that the call returned; `GOSSIP_OK` for NULL.
//
// Thread-safe. Does not block.
gossip_result gossip_error_code(const struct gossip_error *error);

// Returns the whole message: the peer, the step, and the reason.
//
// Thread-safe. Does not block.
struct gossip_str gossip_error_message(const struct gossip_error *error);

// Returns the reason without the peer and the step. Where Fabric has a text for it, this is exactly that text.
//
// Thread-safe. Does not block.
struct gossip_str gossip_error_reason(const struct gossip_error *error);

// Returns the peer that the error concerns: an endpoint, a PKI-ID, or both. Empty if none is known.
//
// Thread-safe. Does not block.
struct gossip_str gossip_error_peer(const struct gossip_error *error);

// Returns the step that failed, such as `dial`, `ping` or `handshake`. Empty if none is known.
//
// Thread-safe. Does not block.
struct gossip_str gossip_error_step(const struct gossip_error *error);

// Returns the number of parts: one for each peer that failed, where a call concerned several.
//
// Thread-safe. Does not block.
size_t gossip_error_part_count(const struct gossip_error *error);

// Returns a part by its index. The part belongs to the error. NULL beyond the last one.
//
// Thread-safe. Does not block.
const struct gossip_error *gossip_error_part(const struct gossip_error *error, size_t index);

// Returns, for a part, the index of its peer in the array that was given to the call. 0 otherwise.
//
// Thread-safe. Does not block.
size_t gossip_error_peer_index(const struct gossip_error *error);

// Frees an error and its parts. Passing NULL is a no-op.
void gossip_error_free(struct gossip_error *error);

// Returns the content of a buffer. A zero byte follows it, so that text can be printed. Empty for NULL.
//
// Thread-safe. Does not block.
struct gossip_bytes gossip_buffer_bytes(const struct gossip_buffer *buffer);

// Frees a buffer. Passing NULL is a no-op.
void gossip_buffer_free(struct gossip_buffer *buffer);

// Passes the library's log to `callback`, up to `max_level`, a gossip_log_level. There is one callback for the whole
// process: a further call replaces it, and NULL removes it. `free` is called on the old `user` once no thread is in
// the callback any more. Keys and the content of messages are never logged. GOSSIP_CONFIG: the program is a Rust
// program that has already set a logger.
//
// Thread-safe. Does not block.
gossip_result gossip_set_log_callback(gossip_log_callback callback,
                                      uint32_t max_level,
                                      void *user,
                                      gossip_free_callback free,
                                      struct gossip_error **error);

// Loads an MSP from its folder, as cryptogen and fabric-ca-client create it. GOSSIP_CONFIG and others: the error names
// the file and the rule. Free it with gossip_msp_free.
//
// Reads files.
gossip_result gossip_msp_load(const char *folder,
                              const char *mspid,
                              struct gossip_msp **msp,
                              struct gossip_error **error);

// Creates an empty configuration of an MSP. Free it with gossip_msp_config_free.
gossip_result gossip_msp_config_new(const char *mspid, struct gossip_msp_config **config, struct gossip_error **error);

// Adds a PEM file; `part` is a gossip_msp_part. `name` is used in errors. The bytes are copied.
gossip_result gossip_msp_config_add(struct gossip_msp_config *config,
                                    uint32_t part,
                                    const char *name,
                                    const uint8_t *pem,
                                    size_t pem_len,
                                    struct gossip_error **error);

// Adds an organisational unit (`OrganizationalUnitIdentifiers`); members must have at least one of those added. With
// `cert`, PEM, the unit counts only in identities that this authority certifies; `cert_len` 0 means any.
gossip_result gossip_msp_config_add_ou(struct gossip_msp_config *config,
                                       const char *identifier,
                                       const uint8_t *cert,
                                       size_t cert_len,
                                       struct gossip_error **error);

// Sets the organisational unit that identifies a role, which enables NodeOUs; `role` is a gossip_msp_role. With
// `cert`, PEM, the unit counts only in identities that this authority certifies; `cert_len` 0 means any.
gossip_result gossip_msp_config_set_node_ou(struct gossip_msp_config *config,
                                            uint32_t role,
                                            const char *identifier,
                                            const uint8_t *cert,
                                            size_t cert_len,
                                            struct gossip_error **error);

// Sets the version of Fabric's MSP rules, a gossip_msp_version.
gossip_result gossip_msp_config_set_version(struct gossip_msp_config *config,
                                            uint32_t version,
                                            struct gossip_error **error);

// Sets whether messages are signed over their SHA3-256 digest instead of their SHA-256 digest.
gossip_result gossip_msp_config_set_sha3(struct gossip_msp_config *config, bool sha3, struct gossip_error **error);

// Frees the configuration. Passing NULL is a no-op.
void gossip_msp_config_free(struct gossip_msp_config *config);

// Creates an MSP from a configuration, which remains the caller's. Errors name the file and the rule. Free it with
// gossip_msp_free.
gossip_result gossip_msp_new(const struct gossip_msp_config *config,
                             struct gossip_msp **msp,
                             struct gossip_error **error);

// Returns the MSP id: the organisation's name in the network.
//
// Thread-safe. Does not block.
struct gossip_str gossip_msp_id(const struct gossip_msp *msp);

// Frees the handle. Objects that use the MSP continue to do so. Passing NULL is a no-op.
void gossip_msp_free(struct gossip_msp *msp);

// Loads our identity from the folder of our local MSP: the certificate from `signcerts/`, the key from `keystore/`,
// and our organisation from the rest. GOSSIP_CONFIG, GOSSIP_IDENTITY and others: the error names the file and the
// rule. Free it with gossip_crypto_free.
//
// Reads files.
gossip_result gossip_crypto_load(const char *folder,
                                 const char *mspid,
                                 struct gossip_crypto **crypto,
                                 struct gossip_error **error);

// Creates our identity from memory: a member of `msp`, with its certificate and its unencrypted private key, both PEM.
// The bytes are copied; `msp` remains the caller's. Free it with gossip_crypto_free.
//
// GOSSIP_IDENTITY and others: the MSP does not accept the certificate as one of its members, the certificate has
// expired, or the key does not belong to it.
gossip_result gossip_crypto_new(const struct gossip_msp *msp,
                                const uint8_t *cert,
                                size_t cert_len,
                                const uint8_t *key,
                                size_t key_len,
                                struct gossip_crypto **crypto,
                                struct gossip_error **error);

// Creates our identity with cryptography implemented by the host. `identity` is our identity as it is sent to peers:
// with an MSP, a serialized `msp.SerializedIdentity` (see gossip_serialized_identity). `msp`, which may be NULL,
// provides the functions that the callbacks leave out. `callbacks` is copied; its `user` belongs to the library after
// a success. Free it with gossip_crypto_free.
//
// GOSSIP_INVALID_ARGUMENT: the size is unknown; `sign` is NULL; or there is no MSP and one of `verify`, `pki_id`,
// `validate_identity`, `expiration` and `org` is NULL. GOSSIP_IDENTITY: our identity has no PKI-ID.
gossip_result gossip_crypto_new_callbacks(const uint8_t *identity,
                                          size_t identity_len,
                                          const struct gossip_crypto_callbacks *callbacks,
                                          const struct gossip_msp *msp,
                                          struct gossip_crypto **crypto,
                                          struct gossip_error **error);

// Serializes the identity of a member: a `msp.SerializedIdentity` of its MSP id and its PEM certificate. Free it with
// gossip_buffer_free.
gossip_result gossip_serialized_identity(const char *mspid,
                                         const uint8_t *cert,
                                         size_t cert_len,
                                         struct gossip_buffer **identity,
                                         struct gossip_error **error);

// Returns our identity as it is sent to peers.
//
// Thread-safe. Does not block.
struct gossip_bytes gossip_crypto_identity(const struct gossip_crypto *crypto);

// Returns our PKI-ID: our short name in the whole network.
//
// Thread-safe. Does not block.
struct gossip_bytes gossip_crypto_pki_id(const struct gossip_crypto *crypto);

// Trusts the members of a further organisation. `msp` remains the caller's.
//
// Thread-safe. Does not block.
gossip_result gossip_crypto_trust(const struct gossip_crypto *crypto,
                                  const struct gossip_msp *msp,
                                  struct gossip_error **error);

// Stops trusting an organisation's members. Connected members stay connected until gossip_node_suspect_peers is called
// or their identity expires.
//
// Thread-safe. Does not block.
gossip_result gossip_crypto_distrust(const struct gossip_crypto *crypto,
                                     const char *mspid,
                                     struct gossip_error **error);

// Sets the organisations of a channel, whose members are trusted, and the MSP ids whose members may read it. If
// `readers` is NULL the channel has no policies, and no signature of another organisation's member is accepted.
//
// Thread-safe. Does not block.
gossip_result gossip_crypto_set_channel(const struct gossip_crypto *crypto,
                                        const char *channel,
                                        const struct gossip_msp *const *msps,
                                        size_t msp_count,
                                        const char *const *readers,
                                        size_t reader_count,
                                        struct gossip_error **error);

// Removes a channel's organisations.
//
// Thread-safe. Does not block.
gossip_result gossip_crypto_remove_channel(const struct gossip_crypto *crypto,
                                           const char *channel,
                                           struct gossip_error **error);

// Signs `data`, the message and not its digest, with our own key. ECDSA signatures are DER with low S. Free the
// signature with gossip_buffer_free.
//
// Thread-safe. Blocks as long as a host's callback does.
gossip_result gossip_crypto_sign(const struct gossip_crypto *crypto,
                                 const uint8_t *data,
                                 size_t len,
                                 struct gossip_buffer **signature,
                                 struct gossip_error **error);

// Verifies a signature over `data` under the key of `identity`, which must be valid. GOSSIP_SIGNATURE,
// GOSSIP_IDENTITY: the signature is not accepted.
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

// Frees the handle. Comms and nodes that use it continue to do so. Passing NULL is a no-op.
void gossip_crypto_free(struct gossip_crypto *crypto);

// Replies with these bytes, which are copied; a further call replaces them. At most 1 MiB: with more, the callback
// counts as failed.
//
// Must be called from within the callback that `reply` was given to, by the callback's thread.
void gossip_reply_set(struct gossip_reply *reply, const uint8_t *data, size_t len);

// Replies to a gossip_sign_digest_callback with an ECDSA signature in ASN.1 DER, a SEQUENCE of the INTEGERs r and s,
// as OpenSSL, Java and cloud key services return it. The bytes are copied; a further call replaces them.
//
// Must be called from within the callback that `reply` was given to, by the callback's thread.
void gossip_reply_set_der(struct gossip_reply *reply, const uint8_t *data, size_t len);

// Replies to a gossip_sign_digest_callback with an ECDSA signature as r followed by s, each padded with zeros to the
// length of the curve's order (64 bytes in total for P-256), as PKCS #11 returns it. The bytes are copied; a further
// call replaces them.
//
// Must be called from within the callback that `reply` was given to, by the callback's thread.
void gossip_reply_set_raw(struct gossip_reply *reply, const uint8_t *data, size_t len);

// Sets the reason for which the callback fails; the callback must then return false. The text is copied and appears in
// errors and the log.
//
// Must be called from within the callback that `reply` was given to, by the callback's thread.
void gossip_reply_fail(struct gossip_reply *reply, const char *text);

// Creates our identity with a private key outside of the process: a member of `msp`, with its PEM certificate, whose
// key is ECDSA, and `sign`, which signs digests with the key. The bytes are copied; `msp` remains the caller's. `user`
// is passed to `sign` and belongs to the library after a success: `free`, which may be NULL, is called on it when
// nothing needs it any more. Free the identity with gossip_crypto_free.
//
// Calls `sign` once. GOSSIP_CONFIG, GOSSIP_IDENTITY and others: the MSP does not accept the certificate as one of its
// members, the certificate has expired, its key is not ECDSA, or the first signature does not verify under it.
// GOSSIP_SIGNATURE: the first signature failed, or does not have the declared form.
gossip_result gossip_crypto_new_signer(const struct gossip_msp *msp,
                                       const uint8_t *cert,
                                       size_t cert_len,
                                       gossip_sign_digest_callback sign,
                                       void *user,
                                       gossip_free_callback free,
                                       struct gossip_crypto **crypto,
                                       struct gossip_error **error);

// Creates an empty configuration. Free it with gossip_tls_config_free.
gossip_result gossip_tls_config_new(struct gossip_tls_config **config, struct gossip_error **error);

// Sets our certificate (followed by its intermediates, if any) and its private key, both PEM in memory, presented in
// both directions. Without a pair it is only possible to dial, and only peers that request no certificate. The bytes
// are copied.
gossip_result gossip_tls_config_set_pair(struct gossip_tls_config *config,
                                         const uint8_t *cert,
                                         size_t cert_len,
                                         const uint8_t *key,
                                         size_t key_len,
                                         struct gossip_error **error);

// Does the same as gossip_tls_config_set_pair, from files, which are read now.
gossip_result gossip_tls_config_set_pair_files(struct gossip_tls_config *config,
                                               const char *cert_path,
                                               const char *key_path,
                                               struct gossip_error **error);

// Sets a different pair to present when dialling. The bytes are copied.
gossip_result gossip_tls_config_set_client_pair(struct gossip_tls_config *config,
                                                const uint8_t *cert,
                                                size_t cert_len,
                                                const uint8_t *key,
                                                size_t key_len,
                                                struct gossip_error **error);

// Adds PEM roots that certify dialled servers; may be called several times. The bytes are copied.
gossip_result gossip_tls_config_add_roots(struct gossip_tls_config *config,
                                          const uint8_t *roots,
                                          size_t roots_len,
                                          struct gossip_error **error);

// Does the same as gossip_tls_config_add_roots, from a file, which is read now.
gossip_result gossip_tls_config_add_roots_file(struct gossip_tls_config *config,
                                               const char *path,
                                               struct gossip_error **error);

// Requires that peers that dial us present a certificate that these PEM roots certify; others are not connected.
// Without this call, as in Fabric, a certificate is requested and the gossip handshake authenticates the peer. May be
// called several times.
gossip_result gossip_tls_config_verify_clients(struct gossip_tls_config *config,
                                               const uint8_t *roots,
                                               size_t roots_len,
                                               struct gossip_error **error);

// Sets the name that dialled servers' certificates are checked for instead of the one in the endpoint.
gossip_result gossip_tls_config_set_server_name(struct gossip_tls_config *config,
                                                const char *name,
                                                struct gossip_error **error);

// Frees the configuration. Passing NULL is a no-op.
void gossip_tls_config_free(struct gossip_tls_config *config);

// Creates checked certificates from a configuration, which remains the caller's. GOSSIP_CONFIG: unreadable PEM, no
// certificate in it, or a key that does not belong to its certificate; the error names the file and the field. Free it
// with gossip_tls_free.
gossip_result gossip_tls_new(const struct gossip_tls_config *config,
                             struct gossip_tls **tls,
                             struct gossip_error **error);

// Replaces the certificates: the next dial and the next accepted connection use the new ones; existing connections
// continue. After an error the old ones remain. Client verification cannot be turned on or off, and the pair cannot be
// removed.
//
// Thread-safe. Does not block.
gossip_result gossip_tls_replace(const struct gossip_tls *tls,
                                 const struct gossip_tls_config *config,
                                 struct gossip_error **error);

// Returns the earliest time, in seconds since 1970, at which a certificate that we present expires; INT64_MAX if none
// is presented.
//
// Thread-safe. Does not block.
int64_t gossip_tls_expires(const struct gossip_tls *tls);

// Frees the handle. Comms and nodes that use it continue to do so. Passing NULL is a no-op.
void gossip_tls_free(struct gossip_tls *tls);

// Creates a configuration with the defaults. Free it with gossip_config_free.
gossip_result gossip_config_new(struct gossip_config **config, struct gossip_error **error);

// Sets a setting by its name, such as `comm.dial_timeout`. Time spans are in nanoseconds; booleans are 1 and 0.
// gossip_config_name lists the names; docs/c-settings.md describes each. For `discovery.sync_interval` and
// `transport.memory_quota`, 0 means none.
//
// GOSSIP_INVALID_ARGUMENT: there is no such setting, the value is out of range for its type, or a time span is shorter
// than a microsecond, which is usually a number of seconds or milliseconds. Further checks of the values are made when
// something is started with them.
gossip_result gossip_config_set(struct gossip_config *config,
                                const char *name,
                                uint64_t value,
                                struct gossip_error **error);

// Returns the current value of a setting.
gossip_result gossip_config_value(struct gossip_config *config,
                                  const char *name,
                                  uint64_t *value,
                                  struct gossip_error **error);

// Returns the name of the setting at an index, starting at 0; empty beyond the last one. Valid for the lifetime of the
// process.
//
// Thread-safe. Does not block.
struct gossip_str gossip_config_name(size_t index);

// Sets the address to serve on, `host:port`. Port 0 takes a free port; gossip_comm_local_addr returns it. Default: no
// server, only dialling.
gossip_result gossip_config_set_listen(struct gossip_config *config, const char *address, struct gossip_error **error);

// Enables mutual TLS with these certificates. The handle remains the caller's and can replace them while they are in
// use. Default: no TLS, which leaves connection messages open to replay and logs a warning.
gossip_result gossip_config_set_tls(struct gossip_config *config,
                                    const struct gossip_tls *tls,
                                    struct gossip_error **error);

// Sets the transport, which dials and listens: `c-core` (gRPC's C core) or `http2` (nghttp2 and OpenSSL). The two ends
// of a connection can use different ones. The settings `c_core.*` and `http2.*` affect only the transport of that name.
// Default: `c-core`, or `http2` in a library that was built without the C core.
//
// GOSSIP_INVALID_ARGUMENT: there is no such transport, or the library was built without it.
gossip_result gossip_config_set_transport(struct gossip_config *config, const char *name, struct gossip_error **error);

// Sets an integer argument of the C core by its name, such as `grpc.http2.lookahead_bytes`. It takes precedence over
// the settings of this library.
//
// GOSSIP_INVALID_ARGUMENT: the library was built without the C core.
gossip_result gossip_config_set_c_core_argument(struct gossip_config *config,
                                                const char *name,
                                                int32_t value,
                                                struct gossip_error **error);

// Nodes: adds an endpoint of a peer of our organisation to contact first (`peer.gossip.bootstrap`). May be called
// several times.
gossip_result gossip_config_add_bootstrap(struct gossip_config *config,
                                          const char *endpoint,
                                          struct gossip_error **error);

// Nodes: sets the endpoint at which peers of our organisation reach us (`peer.gossip.endpoint`). Default: the address
// that is listened on. Required if that address stands for all interfaces. Port 0 stands for the listener's port.
gossip_result gossip_config_set_endpoint(struct gossip_config *config,
                                         const char *endpoint,
                                         struct gossip_error **error);

// Nodes: sets the endpoint at which peers of other organisations reach us (`peer.gossip.externalEndpoint`). Default:
// none; then other organisations neither see us nor send us their own membership.
gossip_result gossip_config_set_external_endpoint(struct gossip_config *config,
                                                  const char *endpoint,
                                                  struct gossip_error **error);

// Nodes: sets the metadata that we publish to all members. Default: empty. The bytes are copied.
gossip_result gossip_config_set_metadata(struct gossip_config *config,
                                         const uint8_t *data,
                                         size_t len,
                                         struct gossip_error **error);

// Nodes: sets the callback that verifies blocks. Default: every block passes verification. Any member of the channel's
// organisations can then send a block with a much higher number than the current ones, after which the genuine ones
// are dropped as too old. `free` is called on `user` when nothing needs it any more.
gossip_result gossip_config_set_block_verifier(struct gossip_config *config,
                                               gossip_block_verifier verifier,
                                               void *user,
                                               gossip_free_callback free,
                                               struct gossip_error **error);

// Frees the configuration. Objects started with it are not affected. Passing NULL is a no-op.
void gossip_config_free(struct gossip_config *config);

// Creates a block message of a channel, for peers of the channel and the organisation; unsigned, as blocks are in
// Fabric. `data` is copied. Free it with gossip_message_free.
gossip_result gossip_message_new_data(const char *channel,
                                      uint64_t seq_num,
                                      const uint8_t *data,
                                      size_t len,
                                      struct gossip_message **message,
                                      struct gossip_error **error);

// Creates a message without content. Free it with gossip_message_free.
gossip_result gossip_message_new_empty(struct gossip_message **message, struct gossip_error **error);

// Creates a message of any content from a serialized `gossip.GossipMessage`; unsigned. `data` is copied.
// GOSSIP_PROTOCOL: `data` is not a GossipMessage. Free it with gossip_message_free.
gossip_result gossip_message_new_payload(const uint8_t *data,
                                         size_t len,
                                         struct gossip_message **message,
                                         struct gossip_error **error);

// Decodes a message from a serialized `gossip.Envelope`. `data` is copied. GOSSIP_PROTOCOL: `data` is not an Envelope.
// Does not verify the signature. Free it with gossip_message_free.
gossip_result gossip_message_decode(const uint8_t *data,
                                    size_t len,
                                    struct gossip_message **message,
                                    struct gossip_error **error);

// Creates a copy of the message with our signature. Free it with gossip_message_free.
//
// Thread-safe. Blocks as long as a host's callback does.
gossip_result gossip_message_sign(const struct gossip_message *message,
                                  const struct gossip_crypto *crypto,
                                  struct gossip_message **signed_message,
                                  struct gossip_error **error);

// Verifies the signatures of a message under the key of `identity`. GOSSIP_SIGNATURE, GOSSIP_IDENTITY: a signature is
// not accepted.
//
// Thread-safe. Blocks as long as a host's callback does.
gossip_result gossip_message_verify(const struct gossip_message *message,
                                    const struct gossip_crypto *crypto,
                                    const uint8_t *identity,
                                    size_t identity_len,
                                    struct gossip_error **error);

// Creates another handle of the same message, for keeping a message that is only lent. Free it with
// gossip_message_free.
gossip_result gossip_message_clone(const struct gossip_message *message,
                                   struct gossip_message **clone,
                                   struct gossip_error **error);

// Returns the content type.
gossip_content gossip_message_content(const struct gossip_message *message);

// Returns the nonce: chosen by the sender, repeated by answers and acknowledgements.
uint64_t gossip_message_nonce(const struct gossip_message *message);

// Returns the name of the message's channel; empty for messages outside of channels.
struct gossip_bytes gossip_message_channel(const struct gossip_message *message);

// Returns the number of a block; 0 for other messages.
uint64_t gossip_message_seq_num(const struct gossip_message *message);

// Returns the content of a block; empty for other messages.
struct gossip_bytes gossip_message_data(const struct gossip_message *message);

// Returns the serialized `gossip.GossipMessage`, over which a signature is computed.
struct gossip_bytes gossip_message_payload(const struct gossip_message *message);

// Returns the signature; empty if there is none.
struct gossip_bytes gossip_message_signature(const struct gossip_message *message);

// Returns the serialized `gossip.Envelope` as it is sent or was received.
struct gossip_bytes gossip_message_wire(const struct gossip_message *message);

// Returns a human-readable form of the message, as Fabric writes it into its logs.
struct gossip_str gossip_message_text(const struct gossip_message *message);

// Frees the message. A message that is lent must not be freed. Passing NULL is a no-op.
void gossip_message_free(struct gossip_message *message);

// Returns the kind of the event.
gossip_event_kind gossip_event_kind_of(const struct gossip_event *event);

// Returns the first message of the event, lent until the event is freed; NULL if it has none.
const struct gossip_message *gossip_event_message(const struct gossip_event *event);

// Returns the number of messages of the event.
size_t gossip_event_message_count(const struct gossip_event *event);

// Returns a message of the event by its index, lent until the event is freed; NULL beyond the last one.
const struct gossip_message *gossip_event_message_at(const struct gossip_event *event, size_t index);

// Returns the PKI-ID of the peer that the event concerns; empty if none is known.
struct gossip_bytes gossip_event_pki_id(const struct gossip_event *event);

// Returns the new PKI-ID of the peer after an identity switch; empty for other events.
struct gossip_bytes gossip_event_new_pki_id(const struct gossip_event *event);

// Returns the identity that the peer authenticated with; empty if the event does not concern a connection.
struct gossip_bytes gossip_event_identity(const struct gossip_event *event);

// Returns the address of the peer: the socket address of a connection, or the endpoint that was given for it.
struct gossip_str gossip_event_endpoint(const struct gossip_event *event);

// Returns a human-readable text; see the kinds. For an event with an error, the error's whole message.
struct gossip_str gossip_event_text(const struct gossip_event *event);

// Returns the error of the event, lent until the event is freed; NULL if it has none.
const struct gossip_error *gossip_event_error(const struct gossip_event *event);

// Returns, for a refusal, whether we refused an inbound peer.
bool gossip_event_inbound(const struct gossip_event *event);

// Returns how long our identity remains valid, in nanoseconds, for an event about its expiration; 0 if it has expired.
gossip_duration gossip_event_remaining(const struct gossip_event *event);

// Writes the member of the event to `member`; its parts are lent until the event is freed. Returns false and writes
// nothing if the event has no member.
bool gossip_event_member(const struct gossip_event *event, struct gossip_member *member);

// Sends a message back to the peer that this message came from, unsigned. GOSSIP_FULL: the queue to the peer is full.
// GOSSIP_DISCONNECTED: the peer is no longer connected. GOSSIP_INVALID_ARGUMENT: the event is not a message from a
// connected peer.
//
// Thread-safe. Does not block.
gossip_result gossip_event_respond(const struct gossip_event *event,
                                   const struct gossip_message *message,
                                   struct gossip_error **error);

// Acknowledges a message to the sender that waits for it. NULL as `text` means success; otherwise `text` is the error.
// Fails like gossip_event_respond, and with GOSSIP_ALREADY_ACKNOWLEDGED if the message was acknowledged before. After
// a failure to send, it can be called again.
//
// Thread-safe. Does not block.
gossip_result gossip_event_ack(const struct gossip_event *event, const char *text, struct gossip_error **error);

// Creates another handle of the same event, for keeping an event that is only lent. Free it with gossip_event_free.
gossip_result gossip_event_clone(const struct gossip_event *event,
                                 struct gossip_event **clone,
                                 struct gossip_error **error);

// Frees the event. An event that is lent must not be freed. Passing NULL is a no-op.
void gossip_event_free(struct gossip_event *event);

// Returns the next message or event. Free it with gossip_event_free. Blocks for at most `timeout`; 0 does not block.
// GOSSIP_TIMEOUT: there is none yet. GOSSIP_STOPPED: the comm or node was stopped and everything left was received, or
// the subscription was closed.
//
// Thread-safe.
gossip_result gossip_subscription_recv(const struct gossip_subscription *subscription,
                                       gossip_duration timeout,
                                       struct gossip_event **event,
                                       struct gossip_error **error);

// Returns a file descriptor that is readable while there is something to receive, and after the subscription has
// ended. It is meant for poll, epoll, kqueue and libraries on top of them. When it is readable, call
// gossip_subscription_recv with timeout 0, once or until it returns GOSSIP_TIMEOUT; only then it stops being readable.
// It may be readable with nothing to receive. It belongs to the subscription: only poll it, do not read from it or
// close it, and stop polling it before the subscription is freed.
//
// Thread-safe. Does not block.
gossip_result gossip_subscription_fd(const struct gossip_subscription *subscription,
                                     int *fd,
                                     struct gossip_error **error);

// Passes every event to `callback`, one at a time, on a separate thread of this subscription, named `gossip-callback`.
// The callback may take long, may call the library, may stop the comm or node, and may free the subscription, after
// which it is not called again. `free` is called on `user` afterwards. A subscription has at most one callback. Events
// that another thread receives meanwhile do not reach the callback.
//
// Does not block.
gossip_result gossip_subscription_set_callback(const struct gossip_subscription *subscription,
                                               gossip_event_callback callback,
                                               void *user,
                                               gossip_free_callback free,
                                               struct gossip_error **error);

// Ends the subscription and frees the waiting items. A thread that waits in gossip_subscription_recv gets
// GOSSIP_STOPPED, a callback its last call, and no connection waits for space in it any more. The handle must still be
// freed.
//
// Thread-safe. Does not block.
void gossip_subscription_close(const struct gossip_subscription *subscription);

// Returns the number of matching messages or events that were dropped because the subscription was full.
//
// Thread-safe. Does not block.
uint64_t gossip_subscription_missed(const struct gossip_subscription *subscription);

// Returns the number of items that wait to be received.
//
// Thread-safe. Does not block.
size_t gossip_subscription_len(const struct gossip_subscription *subscription);

// Frees the subscription and the waiting items. With a callback it blocks until the callback has returned, after which
// it is not called again; from within the callback it does not block. May be called before or after its comm or node
// is freed. Passing NULL is a no-op.
void gossip_subscription_free(struct gossip_subscription *subscription);

// Starts a communication layer. `crypto` and `config` remain the caller's. Without an address to listen on it only
// dials. Free it with gossip_comm_free.
//
// GOSSIP_CONFIG, GOSSIP_IDENTITY and others: a setting is wrong, our own identity is not valid, or the address cannot
// be listened on. GOSSIP_SIGNATURE: a first signature does not match our own identity.
gossip_result gossip_comm_start(const struct gossip_crypto *crypto,
                                const struct gossip_config *config,
                                struct gossip_comm **comm,
                                struct gossip_error **error);

// Returns the address that it listens on, `host:port` with the actual port; empty if it does not listen.
//
// Does not block.
struct gossip_str gossip_comm_local_addr(const struct gossip_comm *comm);

// Returns our own PKI-ID.
//
// Does not block.
struct gossip_bytes gossip_comm_pki_id(const struct gossip_comm *comm);

// Queues a message for each peer, in order per peer. Peers that are not connected are dialled. An accepted message is
// later written or reported as undelivered (GOSSIP_EVENT_UNDELIVERED); only an acknowledgement proves delivery.
// `message` and `peers` remain the caller's.
//
// If the message could not be queued for some peers, the call returns the code of the first such peer, and the error
// has one part for each of them. For all other peers the message has been queued. GOSSIP_FULL: the queue to the peer
// is full. Also GOSSIP_TOO_LARGE, GOSSIP_STOPPED, GOSSIP_CONFIG.
//
// Does not block.
gossip_result gossip_comm_send(const struct gossip_comm *comm,
                               const struct gossip_message *message,
                               const struct gossip_peer *peers,
                               size_t peer_count,
                               struct gossip_error **error);

// Does the same as gossip_comm_send, but waits up to `timeout` for space in the peers' queues.
gossip_result gossip_comm_send_timeout(const struct gossip_comm *comm,
                                       const struct gossip_message *message,
                                       gossip_duration timeout,
                                       const struct gossip_peer *peers,
                                       size_t peer_count,
                                       struct gossip_error **error);

// Sends a message to all peers, with a fresh nonce and unsigned. Waits until `min_ack` of them have acknowledged it,
// every one has answered or failed, or `timeout` has passed. GOSSIP_OK: at least `min_ack` have acknowledged; their
// number is written to `acks` if that is not NULL. Otherwise the code is that of the first peer in the array that did
// not acknowledge, and the error has one part for each: GOSSIP_NACK (the peer's own error), GOSSIP_TIMEOUT,
// GOSSIP_UNREACHABLE and others.
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

// Queues a message for a peer, with a fresh nonce and unsigned, and returns a handle for its acknowledgement. Any
// number of messages can be awaiting acknowledgement. Free the handle with gossip_ack_handle_free. GOSSIP_FULL and
// others: the message was not queued.
//
// Blocks for at most `timeout`, and only while the queue to the peer is full.
gossip_result gossip_comm_send_tracked(const struct gossip_comm *comm,
                                       const struct gossip_message *message,
                                       gossip_duration timeout,
                                       const struct gossip_peer *peer,
                                       struct gossip_ack_handle **ack,
                                       struct gossip_error **error);

// Connects to a peer now if it is not connected, without sending it a message. `confirmed`, which may be NULL,
// receives whether the peer has shown that it accepts us. A peer that refuses us makes the call fail.
//
// Blocks for at most `timeout`.
gossip_result gossip_comm_connect(const struct gossip_comm *comm,
                                  const struct gossip_peer *peer,
                                  gossip_duration timeout,
                                  bool *confirmed,
                                  struct gossip_error **error);

// Waits until every accepted message has been written or reported. GOSSIP_TIMEOUT: some have not.
//
// Blocks for at most `timeout`.
gossip_result gossip_comm_flush(const struct gossip_comm *comm, gossip_duration timeout, struct gossip_error **error);

// Checks that the peer's endpoint answers a Ping. Opens a new connection; does not authenticate.
//
// Blocks for at most `comm.dial_timeout` and `comm.conn_timeout`.
gossip_result gossip_comm_probe(const struct gossip_comm *comm,
                                const struct gossip_peer *peer,
                                struct gossip_error **error);

// Finds out the identity of the peer at an endpoint and whether that peer accepts us. Opens a new connection and does
// the whole handshake; afterwards neither side keeps a connection, but both know the other's identity. If a PKI-ID is
// given, the peer's must match it. `who` receives a list with one element; free it with gossip_connection_list_free.
// `confirmed`, which may be NULL, receives whether the peer said that it accepts us. The call fails if the peer
// refuses us; if the peer does neither, `confirmed` is false.
//
// Blocks for at most `comm.dial_timeout` and three times `comm.conn_timeout`.
gossip_result gossip_comm_handshake(const struct gossip_comm *comm,
                                    const struct gossip_peer *peer,
                                    struct gossip_connection_list **who,
                                    bool *confirmed,
                                    struct gossip_error **error);

// Subscribes to received messages (GOSSIP_EVENT_MESSAGE) for which `predicate` returns true, or to all if it is NULL.
// Acknowledgements are not included. `options` may be NULL. `user` is passed to the predicate; `free`, which may be
// NULL, is called on it when nothing needs it any more. Free the subscription with gossip_subscription_free.
//
// A subscription that is not read delays the connections that its messages come from, as its options say.
//
// Does not block.
gossip_result gossip_comm_accept(const struct gossip_comm *comm,
                                 const struct gossip_subscription_options *options,
                                 gossip_predicate predicate,
                                 void *user,
                                 gossip_free_callback free,
                                 struct gossip_subscription **subscription,
                                 struct gossip_error **error);

// Subscribes to events of connections and of accepted messages, from now on. Events that are not received in time are
// dropped and counted. Free the subscription with gossip_subscription_free.
//
// Does not block.
gossip_result gossip_comm_events(const struct gossip_comm *comm,
                                 struct gossip_subscription **subscription,
                                 struct gossip_error **error);

// Subscribes to the peers that could not be reached for a send, or not reached again after their connection was lost
// (GOSSIP_EVENT_PRESUMED_DEAD), from now on. The queue holds 100 events; further ones are dropped and counted. Free
// the subscription with gossip_subscription_free.
//
// Does not block.
gossip_result gossip_comm_presumed_dead(const struct gossip_comm *comm,
                                        struct gossip_subscription **subscription,
                                        struct gossip_error **error);

// Closes the connection to a peer and forgets the peer. Queued messages are still written within `comm.conn_timeout`;
// those that are not written are reported. An unknown peer is not an error.
//
// Does not block.
gossip_result gossip_comm_close(const struct gossip_comm *comm,
                                const struct gossip_peer *peer,
                                struct gossip_error **error);

// Returns the peers that are connected now. Free the list with gossip_connection_list_free.
//
// Does not block.
gossip_result gossip_comm_connections(const struct gossip_comm *comm,
                                      struct gossip_connection_list **list,
                                      struct gossip_error **error);

// Returns the identity that belongs to a PKI-ID. Free it with gossip_buffer_free. GOSSIP_IDENTITY: the PKI-ID is not
// known.
//
// Does not block.
gossip_result gossip_comm_identity(const struct gossip_comm *comm,
                                   const uint8_t *pki_id,
                                   size_t pki_id_len,
                                   struct gossip_buffer **identity,
                                   struct gossip_error **error);

// Returns the MSP id of the organisation that a PKI-ID belongs to. Free it with gossip_buffer_free. GOSSIP_IDENTITY:
// the PKI-ID is not known.
//
// Does not block.
gossip_result gossip_comm_org(const struct gossip_comm *comm,
                              const uint8_t *pki_id,
                              size_t pki_id_len,
                              struct gossip_buffer **org,
                              struct gossip_error **error);

// Returns the current counters and gauges. Free them with gossip_metrics_free.
//
// Does not block.
gossip_result gossip_comm_metrics(const struct gossip_comm *comm,
                                  struct gossip_metrics **metrics,
                                  struct gossip_error **error);

// Stops the communication layer. Nothing more is accepted. Connections are closed so that written data arrives;
// messages that were only queued are written within `drain` or reported. Subscriptions end once they have been read
// empty, and every thread is joined. May be called several times; a further call waits for the first. The handle must
// still be freed. GOSSIP_TIMEOUT: not everything was written within `drain`; it has stopped nevertheless.
//
// Blocks for at most `drain`, `comm.conn_timeout` and, with a peer that is frozen with its socket full,
// `transport.keepalive_timeout`. When called in a predicate, a crypto callback or the log callback it returns
// immediately, and another thread does the work.
gossip_result gossip_comm_stop(const struct gossip_comm *comm, gossip_duration drain, struct gossip_error **error);

// Frees the handle. Freeing the last handle of a comm stops it, like gossip_comm_stop with a `drain` of 0. Passing
// NULL is a no-op.
void gossip_comm_free(struct gossip_comm *comm);

// Waits up to `timeout` (0 does not wait) until the peer has answered, or until it is known that the message will not
// reach it. The answer is returned once. GOSSIP_OK: acknowledged. GOSSIP_TIMEOUT: no answer yet; call again.
// GOSSIP_NACK: the peer reported an error. Any other code: the reason why the message was not delivered;
// GOSSIP_UNREACHABLE also for a time limit of the connection.
//
// Thread-safe. Blocks for at most `timeout`.
gossip_result gossip_ack_handle_wait(const struct gossip_ack_handle *ack,
                                     gossip_duration timeout,
                                     struct gossip_error **error);

// Returns the message's nonce, which identifies its acknowledgement.
//
// Thread-safe. Does not block.
uint64_t gossip_ack_handle_nonce(const struct gossip_ack_handle *ack);

// Frees the handle. The message is still sent; its acknowledgement is ignored. Passing NULL is a no-op.
void gossip_ack_handle_free(struct gossip_ack_handle *ack);

// Starts a node: listens, contacts the bootstrap peers, and maintains the membership from then on. Does not wait for
// other members; gossip_node_wait_for_members does. `crypto` and `config` remain the caller's. `notices`, which may be
// NULL, receives a subscription like that of gossip_node_notices, which misses nothing from the start. Free the node
// with gossip_node_free.
//
// GOSSIP_CONFIG, GOSSIP_IDENTITY and others: a setting or endpoint is wrong, our own identity is not valid or not of a
// known organisation, or the address cannot be listened on. A bootstrap peer that does not answer is not an error: it
// is reported as GOSSIP_EVENT_SEED_FAILED, and contacted again. GOSSIP_SIGNATURE: a first signature does not match our
// own identity.
gossip_result gossip_node_start(const struct gossip_crypto *crypto,
                                const struct gossip_config *config,
                                struct gossip_subscription **notices,
                                struct gossip_node **node,
                                struct gossip_error **error);

// Returns the node's communication layer. Free it with gossip_comm_free. Stopping it stops the node's communication
// too; freeing it does not.
//
// Does not block.
gossip_result gossip_node_comm(const struct gossip_node *node, struct gossip_comm **comm, struct gossip_error **error);

// Returns our own member record as others see it: a list with one element. Free it with gossip_member_list_free.
//
// Does not block.
gossip_result gossip_node_self(const struct gossip_node *node,
                               struct gossip_member_list **list,
                               struct gossip_error **error);

// Returns the members that are alive, without ourselves. Free the list with gossip_member_list_free.
//
// Does not block.
gossip_result gossip_node_peers(const struct gossip_node *node,
                                struct gossip_member_list **list,
                                struct gossip_error **error);

// Returns the dead members that are still remembered. Free the list with gossip_member_list_free.
//
// Does not block.
gossip_result gossip_node_dead(const struct gossip_node *node,
                               struct gossip_member_list **list,
                               struct gossip_error **error);

// Returns a member, alive or dead, or ourselves, by PKI-ID: a list with one element, or an empty one if the PKI-ID is
// not known. Free it with gossip_member_list_free.
//
// Does not block.
gossip_result gossip_node_lookup(const struct gossip_node *node,
                                 const uint8_t *pki_id,
                                 size_t pki_id_len,
                                 struct gossip_member_list **list,
                                 struct gossip_error **error);

// Returns the peers that are alive and in a channel. Free the list with gossip_member_list_free.
// gossip_node_peers_of_channel returns their announcements as well. GOSSIP_INVALID_ARGUMENT: we were never in this
// channel.
//
// Does not block.
gossip_result gossip_node_channel_peers(const struct gossip_node *node,
                                        const char *channel,
                                        struct gossip_member_list **list,
                                        struct gossip_error **error);

// Returns the same peers as gossip_node_channel_peers, each with the ledger height and the chaincodes that it
// announces, sorted by PKI-ID. Corresponds to Fabric's PeersOfChannel. A peer announces a change within its publishing
// interval, 4 s by default. Free the list with gossip_channel_member_list_free. GOSSIP_INVALID_ARGUMENT: we were never
// in this channel.
//
// Does not block.
gossip_result gossip_node_peers_of_channel(const struct gossip_node *node,
                                           const char *channel,
                                           struct gossip_channel_member_list **list,
                                           struct gossip_error **error);

// Returns the bootstrap and anchor peers, and the endpoints given to gossip_node_connect. All of them are retried
// without limit. Free the list with gossip_seed_list_free.
//
// Does not block.
gossip_result gossip_node_seeds(const struct gossip_node *node,
                                struct gossip_seed_list **list,
                                struct gossip_error **error);

// Returns all known identities, including our own. Free the list with gossip_identity_list_free.
//
// Does not block.
gossip_result gossip_node_identities(const struct gossip_node *node,
                                     struct gossip_identity_list **list,
                                     struct gossip_error **error);

// Contacts an endpoint until a peer, of any organisation, has answered there, and keeps the endpoint known from then
// on.
//
// GOSSIP_CONFIG: the endpoint is not `host:port`. GOSSIP_FULL: there are too many. GOSSIP_STOPPED. Does not block.
gossip_result gossip_node_connect(const struct gossip_node *node, const char *endpoint, struct gossip_error **error);

// Requests the membership from up to `count` random members now.
//
// Does not block.
gossip_result gossip_node_initiate_sync(const struct gossip_node *node, size_t count, struct gossip_error **error);

// Changes our metadata, from the next alive message on (within `discovery.alive_time_interval`). The bytes are copied.
//
// Does not block.
gossip_result gossip_node_update_metadata(const struct gossip_node *node,
                                          const uint8_t *data,
                                          size_t len,
                                          struct gossip_error **error);

// Changes our external endpoint, from the next alive message on. An empty endpoint means that other organisations
// cannot reach us.
//
// GOSSIP_CONFIG: the endpoint is not `host:port`. GOSSIP_STOPPED. Does not block.
gossip_result gossip_node_update_endpoint(const struct gossip_node *node,
                                          const char *endpoint,
                                          struct gossip_error **error);

// Validates the identities again for which `suspect` returns true, or all if it is NULL. Identities that are no longer
// valid are forgotten, and their connections closed. Call it when a revocation list or the organisations change.
// `suspect` is called by this thread.
//
// Blocks while it validates.
gossip_result gossip_node_suspect_peers(const struct gossip_node *node,
                                        gossip_identity_predicate suspect,
                                        void *user,
                                        struct gossip_error **error);

// Creates an empty set of organisations of a channel. Free it with gossip_channel_orgs_free.
gossip_result gossip_channel_orgs_new(struct gossip_channel_orgs **orgs, struct gossip_error **error);

// Adds an organisation, by its MSP id.
gossip_result gossip_channel_orgs_add(struct gossip_channel_orgs *orgs, const char *mspid, struct gossip_error **error);

// Adds an anchor peer to an organisation; adds the organisation if needed.
gossip_result gossip_channel_orgs_add_anchor(struct gossip_channel_orgs *orgs,
                                             const char *mspid,
                                             const char *host,
                                             uint16_t port,
                                             struct gossip_error **error);

// Frees the organisations. Passing NULL is a no-op.
void gossip_channel_orgs_free(struct gossip_channel_orgs *orgs);

// Joins a channel, or updates the organisations and anchor peers of a joined one. `orgs` must be those of the
// channel's configuration, verified by the caller; it remains the caller's.
//
// GOSSIP_CONFIG: the name is empty, or our organisation is not one of the channel's. GOSSIP_FULL: too many channels.
// GOSSIP_STOPPED. Does not block.
gossip_result gossip_node_join_channel(const struct gossip_node *node,
                                       const char *channel,
                                       const struct gossip_channel_orgs *orgs,
                                       struct gossip_error **error);

// Leaves a channel: notifies its members, and accepts no more of its messages.
//
// GOSSIP_CONFIG: we are not in it. GOSSIP_STOPPED. Does not block.
gossip_result gossip_node_leave_channel(const struct gossip_node *node,
                                        const char *channel,
                                        struct gossip_error **error);

// Publishes our number of blocks to the members of a channel, within `channel.publish_state_info_interval`.
//
// GOSSIP_CONFIG: we are not in it. GOSSIP_STOPPED. Does not block.
gossip_result gossip_node_update_ledger_height(const struct gossip_node *node,
                                               const char *channel,
                                               uint64_t height,
                                               struct gossip_error **error);

// Publishes the chaincodes that we can execute to the members of a channel, in place of those published before, within
// `channel.publish_state_info_interval`. `names` and `versions` have `count` elements each.
//
// GOSSIP_CONFIG: we are not in it. GOSSIP_TOO_LARGE: more than 252 KiB, which other nodes would not keep.
// GOSSIP_STOPPED. Does not block.
gossip_result gossip_node_update_chaincodes(const struct gossip_node *node,
                                            const char *channel,
                                            const char *const *names,
                                            const char *const *versions,
                                            size_t count,
                                            struct gossip_error **error);

// Gossips a block of a channel to its members in our organisation; each receiver forwards it. The message is sent
// unsigned, as blocks are in Fabric.
//
// GOSSIP_PROTOCOL: messages of this content are not gossiped. GOSSIP_CONFIG: we are not in its channel.
// GOSSIP_TOO_LARGE, GOSSIP_STOPPED. Does not block.
gossip_result gossip_node_gossip(const struct gossip_node *node,
                                 const struct gossip_message *message,
                                 struct gossip_error **error);

// Sends a message to the given peers; see gossip_comm_send.
//
// Does not block.
gossip_result gossip_node_send(const struct gossip_node *node,
                               const struct gossip_message *message,
                               const struct gossip_peer *peers,
                               size_t peer_count,
                               struct gossip_error **error);

// Sends a message to at most `max_peers` members, of `channel` if that is not NULL, and waits until `min_ack` of them
// have acknowledged it. Corresponds to Fabric's SendByCriteria. `timeout` must not be 0. With `max_peers` 0 it is sent
// to no member, which is not an error.
//
// GOSSIP_CONFIG: no timeout, no such channel, or fewer suitable members than `min_ack`. GOSSIP_NACK: too few
// acknowledged it; the text gives the reasons. GOSSIP_STOPPED. Blocks for at most `timeout`.
gossip_result gossip_node_send_by_criteria(const struct gossip_node *node,
                                           const struct gossip_message *message,
                                           gossip_duration timeout,
                                           size_t min_ack,
                                           size_t max_peers,
                                           const char *channel,
                                           struct gossip_error **error);

// Subscribes to gossiped messages (GOSSIP_EVENT_GOSSIPED): the blocks of our channels, each delivered once, for which
// `predicate` returns true, or all if it is NULL. The predicate runs on the node's own thread. Blocks for which there
// is no space are dropped and counted. `options` may be NULL. `user` is passed to the predicate; `free`, which may be
// NULL, is called on it when nothing needs it any more. Free the subscription with gossip_subscription_free.
// gossip_comm_accept delivers all other messages.
//
// Does not block.
gossip_result gossip_node_accept(const struct gossip_node *node,
                                 const struct gossip_subscription_options *options,
                                 gossip_predicate predicate,
                                 void *user,
                                 gossip_free_callback free,
                                 struct gossip_subscription **subscription,
                                 struct gossip_error **error);

// Subscribes to events of the network, from now on: members that appear, change, die and are forgotten, seeds that
// cannot be contacted, identities that are replaced or expire. Events that are not received in time are dropped and
// counted. Free the subscription with gossip_subscription_free.
//
// Does not block.
gossip_result gossip_node_notices(const struct gossip_node *node,
                                  struct gossip_subscription **subscription,
                                  struct gossip_error **error);

// Waits until at least `count` other members are alive. GOSSIP_TIMEOUT: the text says how many there are, and why
// seeds have not answered.
//
// Blocks for at most `timeout`.
gossip_result gossip_node_wait_for_members(const struct gossip_node *node,
                                           size_t count,
                                           gossip_duration timeout,
                                           struct gossip_error **error);

// Returns the current counters and gauges, including those of its communication layer. Free them with
// gossip_metrics_free.
//
// Does not block.
gossip_result gossip_node_metrics(const struct gossip_node *node,
                                  struct gossip_metrics **metrics,
                                  struct gossip_error **error);

// Stops the node. Nothing more is sent, subscriptions end once they have been read empty, connections are closed so
// that written data arrives, and every thread is joined. May be called several times; a further call waits for the
// first. The handle must still be freed.
//
// Blocks as long as gossip_comm_stop does, and for the verifications in progress. When called in a predicate, a block
// verifier, a crypto callback or the log callback it returns immediately, and another thread does the work.
gossip_result gossip_node_stop(const struct gossip_node *node, struct gossip_error **error);

// Frees the handle, and stops the node if it is not stopped. Passing NULL is a no-op.
void gossip_node_free(struct gossip_node *node);

// Returns the number of members.
//
// Thread-safe. Does not block.
size_t gossip_member_list_len(const struct gossip_member_list *list);

// Writes the member at an index, starting at 0, to `member`.
//
// Thread-safe. Does not block.
gossip_result gossip_member_list_at(const struct gossip_member_list *list,
                                    size_t index,
                                    struct gossip_member *member,
                                    struct gossip_error **error);

// Frees the list. Passing NULL is a no-op.
void gossip_member_list_free(struct gossip_member_list *list);

// Returns the number of connections.
//
// Thread-safe. Does not block.
size_t gossip_connection_list_len(const struct gossip_connection_list *list);

// Writes the connection at an index, starting at 0, to `connection`.
//
// Thread-safe. Does not block.
gossip_result gossip_connection_list_at(const struct gossip_connection_list *list,
                                        size_t index,
                                        struct gossip_connection *connection,
                                        struct gossip_error **error);

// Frees the list. Passing NULL is a no-op.
void gossip_connection_list_free(struct gossip_connection_list *list);

// Returns the number of identities.
//
// Thread-safe. Does not block.
size_t gossip_identity_list_len(const struct gossip_identity_list *list);

// Writes the identity at an index, starting at 0, to `identity`.
//
// Thread-safe. Does not block.
gossip_result gossip_identity_list_at(const struct gossip_identity_list *list,
                                      size_t index,
                                      struct gossip_identity *identity,
                                      struct gossip_error **error);

// Frees the list. Passing NULL is a no-op.
void gossip_identity_list_free(struct gossip_identity_list *list);

// Returns the number of seeds.
//
// Thread-safe. Does not block.
size_t gossip_seed_list_len(const struct gossip_seed_list *list);

// Writes the seed at an index, starting at 0, to `seed`.
//
// Thread-safe. Does not block.
gossip_result gossip_seed_list_at(const struct gossip_seed_list *list,
                                  size_t index,
                                  struct gossip_seed *seed,
                                  struct gossip_error **error);

// Frees the list. Passing NULL is a no-op.
void gossip_seed_list_free(struct gossip_seed_list *list);

// Returns the number of members.
//
// Thread-safe. Does not block.
size_t gossip_channel_member_list_len(const struct gossip_channel_member_list *list);

// Writes the member at an index, starting at 0, to `member`.
//
// Thread-safe. Does not block.
gossip_result gossip_channel_member_list_at(const struct gossip_channel_member_list *list,
                                            size_t index,
                                            struct gossip_channel_member *member,
                                            struct gossip_error **error);

// Writes a chaincode of the member at an index to `chaincode`. `number` counts its chaincodes, starting at 0.
//
// Thread-safe. Does not block.
gossip_result gossip_channel_member_list_chaincode(const struct gossip_channel_member_list *list,
                                                   size_t index,
                                                   size_t number,
                                                   struct gossip_chaincode *chaincode,
                                                   struct gossip_error **error);

// Frees the list. Passing NULL is a no-op.
void gossip_channel_member_list_free(struct gossip_channel_member_list *list);

// Returns all values in Prometheus' text format, version 0.0.4. The host serves it.
//
// Does not block.
struct gossip_str gossip_metrics_prometheus(const struct gossip_metrics *metrics);

// Returns the number of values.
//
// Does not block.
size_t gossip_metrics_count(const struct gossip_metrics *metrics);

// Returns the name of a value, with its labels, by its index starting at 0, such as `gossip_comm_messages_sent` or
// `gossip_membership_total_peers_known{channel="mychannel"}`; empty beyond the last one.
//
// Does not block.
struct gossip_str gossip_metrics_name(const struct gossip_metrics *metrics, size_t index);

// Returns a value by its name, with its labels. GOSSIP_INVALID_ARGUMENT: there is no value of this name.
//
// Does not block.
gossip_result gossip_metrics_value(const struct gossip_metrics *metrics,
                                   const char *name,
                                   double *value,
                                   struct gossip_error **error);

// Frees the snapshot. Passing NULL is a no-op.
void gossip_metrics_free(struct gossip_metrics *metrics);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FABRIC_GOSSIP_H */
