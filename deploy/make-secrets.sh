#!/bin/sh
# Makes what docker-compose.yml reads as secrets, in deploy/secrets or in the folder that is given: random passwords, the
# URLs with them, and the lists of users for Redis and PostgreSQL. A password that is there already stays as it is, so
# it may be run again, for example after a change of deploy/redis/users.acl.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

random() { # prints $1 random bytes in hexadecimal digits
  od -An -v -N"$1" -tx1 /dev/urandom | tr -d ' \n'
}

put() { # writes what comes in to the file $1, all or nothing
  rm -f "$1.new"
  cat > "$1.new"
  # The containers' users are not this one: they read the files, but nobody else gets through the folder.
  chmod 444 "$1.new"
  mv -f "$1.new" "$1"
}

make_password() {
  test -s "$1" || random 24 | put "$1"
}

url() { # $1: the file of the URL, $2: the file of its password, $3 and $4: what stands before and behind that
  printf '%s%s%s\n' "$3" "$(cat "$2")" "$4" | put "$1"
}

redis="producer worker beat flower subscriber health"
postgres="superuser migrate worker beat reader producer"
mongo="root trivet reader"

for user in $redis; do make_password "redis_$user"; done
for user in $postgres; do make_password "postgres_$user"; done
for user in $mongo; do make_password "mongo_$user"; done
make_password flower_password
make_password mongo_keyfile

# By files, for a command line is there for everybody to read.
trap 'rm -f fill.sed' EXIT
for user in $redis; do
  printf 's/@redis_%s@/%s/\n' "$user" "$(tr -d '\n' < "redis_$user" | sha256sum | cut -d' ' -f1)"
done > fill.sed
sed -e ':join' -e '/\\$/{' -e 'N' -e 's/ *\\\n */ /' -e 'b join' -e '}' -e '/^#/d' -e '/^$/d' "$here/redis/users.acl" \
  | sed -f fill.sed | put redis_users.acl
for user in $postgres; do
  printf 's/@postgres_%s@/%s/\n' "$user" "$(cat "postgres_$user")"
done > fill.sed
sed -f fill.sed "$here/postgres/users.sql" | put postgres_users.sql

for user in $redis; do
  test "$user" = health || url "redis_url_$user" "redis_$user" "redis://$user:" "@redis:6379/0"
done
for user in $postgres; do
  test "$user" = superuser || url "postgres_url_$user" "postgres_$user" "postgresql://$user:" "@postgres:5432/trivet"
done
for user in trivet reader; do
  url "mongo_url_$user" "mongo_$user" "mongodb://$user:" "@mongo:27017/trivet?replicaSet=trivet"
done
echo "the secrets are in $folder"
