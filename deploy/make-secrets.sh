#!/bin/sh
# Makes the secrets that deploy/compose.example.yaml names: `sh deploy/make-secrets.sh FOLDER`.
#
# The folder is its owner's alone. The files in it can be read by all, because the containers get
# each of theirs with these rights, and none of them runs as you. What exists is kept.
set -eu
folder=${1:?"say which folder: sh deploy/make-secrets.sh FOLDER"}
mkdir -p -m 0700 "$folder"
cd "$folder"

random() { head -c 48 /dev/urandom | base64 | tr '+/' '-_'; }

keep() {  # keep NAME: the file NAME holds what comes in, unless it is there already
    if [ ! -s "$1" ]; then
        cat >"$1.new"
        chmod 0444 "$1.new"
        mv "$1.new" "$1"
    fi
}

for name in secret-key sealer-secret-key superuser-password owner-password app-password \
    sealer-password redis-password; do
    random | keep "$name"
done
head -c 32 /dev/urandom | base64 | keep ledger-key
for role in owner app sealer; do
    echo "postgresql://jitportal_$role:$(cat "$role-password")@postgres/jitportal" |
        keep "$role-database-url"
done
echo "redis://:$(cat redis-password)@redis:6379/0" | keep broker-url
