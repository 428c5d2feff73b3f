# From the header: a call of every function with nothing but NULL and 0, and one for each argument that must not be NULL
# with only that one NULL. null.c includes it. A function or argument that is new in the header is in it by itself.
BEGIN {
    # The arguments that may be NULL, by the documentation of the function: `function argument`.
    list = "gossip_set_log_callback:callback,free gossip_crypto_new_callbacks:msp " \
        "gossip_crypto_new_signer:free " \
        "gossip_crypto_set_channel:readers gossip_event_ack:text gossip_comm_accept:options,predicate,free " \
        "gossip_comm_send_with_ack:acks gossip_comm_handshake:confirmed gossip_comm_connect:confirmed gossip_node_start:notices " \
        "gossip_node_suspect_peers:suspect gossip_node_send_by_criteria:channel " \
        "gossip_node_accept:options,predicate,free gossip_subscription_set_callback:free " \
        "gossip_config_set_block_verifier:free"
    n = split(list, entries, " ")
    for (i = 1; i <= n; i++) {
        split(entries[i], entry, ":")
        m = split(entry[2], names, ",")
        for (j = 1; j <= m; j++) optional[entry[1] " " names[j]] = 1
    }
}
/^extern "C"/ { on = 1; next }
!on || /^ *\/\// || /^#/ { next }
{
    statement = statement " " $0
    if ($0 ~ /;$/) { if (statement ~ /gossip_[a-z0-9_]+\(/) prototype(statement); statement = "" }
}
function trim(s) { gsub(/^ +| +$/, "", s); return s }
function prototype(s,    open, head, name, returns, count, params, i, type, param) {
    gsub(/ +/, " ", s)
    open = index(s, "(")
    head = trim(substr(s, 1, open - 1))
    match(head, /gossip_[a-z0-9_]+$/)
    name = substr(head, RSTART)
    returns = trim(substr(head, 1, RSTART - 1))
    s = substr(s, open + 1)
    sub(/\) ?;.*$/, "", s)
    count = s == "void" ? 0 : split(s, params, ",")
    functions++
    zeros = ""
    fallible = 0
    for (i = 1; i <= count; i++) {
        param = trim(params[i])
        match(param, /[a-z0-9_]+$/)
        arg[i] = substr(param, RSTART)
        types[i] = trim(substr(param, 1, RSTART - 1))
        pointer[i] = types[i] ~ /\*/ || types[i] ~ /_(callback|predicate|verifier)$/
        if (arg[i] == "error" && types[i] ~ /gossip_error \*\*/) fallible = 1
        zeros = zeros (i > 1 ? ", " : "") "0"
    }
    if (!fallible) {
        printf (returns == "void" ? "    %s%s(%s);\n" : "    zero_%s(%s(%s));\n"), kind(returns), name, zeros
        return
    }
    printf "    zeros(\"%s\", %s(%s), NULL);\n", name, name, zeros
    sub(/0$/, "\\&error", zeros)
    printf "    zeros(\"%s\", %s(%s), &error);\n", name, name, zeros
    for (i = 1; i < count; i++) {
        if (!pointer[i] || arg[i] == "user" || (name " " arg[i]) in optional) continue
        call = ""
        for (j = 1; j < count; j++)
            call = call (j == i ? "NULL" : valid(types[j], arg[j])) ", "
        printf "    one(\"%s\", \"%s\", %s(%s&error), &error);\n", name, arg[i], name, call
        arguments++
    }
}
function kind(returns) {
    if (returns == "void") return ""
    if (returns ~ /gossip_str$/) return "str"
    if (returns ~ /gossip_bytes$/) return "bytes"
    if (returns ~ /\*$/) return "pointer"
    return "number"
}
# Something to give for an argument of this type.
function valid(type, name,    bare) {
    bare = type
    gsub(/const |struct /, "", bare)
    if (type ~ /\*\*$/ && type !~ /const/) { sub(/ \*\*$/, "", bare); return "&none." substr(bare, 8) }
    if (bare == "gossip_msp * *" || bare ~ /gossip_msp \*.*\*/) return "&valid.of_channel"
    if (bare ~ /char \*.*\*/) return "&valid.text"
    if (bare == "char *") return "valid.text"
    if (bare == "uint8_t *") return "valid.data"
    if (bare == "void *") return "NULL"
    if (bare ~ /^(gossip_member|gossip_channel_member|gossip_chaincode|gossip_connection|gossip_identity|gossip_seed) \*$/) { sub(/ \*/, "", bare); return "&none." substr(bare, 8) "_at" }
    if (bare == "gossip_peer *") return "&valid.peer"
    if (bare == "gossip_crypto_callbacks *") return "&valid.callbacks"
    if (bare ~ /^gossip_[a-z_]+ \*$/) { sub(/ \*/, "", bare); return "valid." substr(bare, 8) }
    if (bare ~ /^gossip_.*(callback|predicate|verifier)$/) return "valid_" substr(bare, 8)
    if (bare ~ /\*$/) { sub(/ \*/, "", bare); sub(/ /, "_", bare); return "&none." bare "_out" }
    if (name == "version") return "300"
    if (bare == "uint64_t" || bare == "bool") return "0"
    return "1"
}
END { printf "    enum { FUNCTIONS = %d, ARGUMENTS = %d };\n", functions, arguments }
