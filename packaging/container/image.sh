#!/bin/sh
# Lays out what the last stage of Dockerfile.alpine copies. usage: image.sh HEART_FILE FOLDER
#
#   FOLDER/system    belongs to root: the file, /tmp, the names of two users, the CAs that this system trusts
#   FOLDER/own       belongs to the user of the image: where the file unpacks itself, and the volume
set -eu
heart=${1:?usage: image.sh HEART_FILE FOLDER}
system=${2:?usage: image.sh HEART_FILE FOLDER}/system
own=$2/own
trusted=/etc/ssl/certs/ca-certificates.crt
[ -e "$trusted" ] || {
  echo "image.sh: $trusted is missing: apt-get install ca-certificates, or apk add ca-certificates-bundle" >&2
  exit 1
}

mkdir -p "$system$(dirname "$trusted")" "$system/tmp" "$system/usr/local/bin" "$own/cache" "$own/data"
chmod 755 "$system/etc" "$system/etc/ssl" "$system/etc/ssl/certs" "$own/data"
chmod 755 "$system/usr" "$system/usr/local" "$system/usr/local/bin"
chmod 700 "$own/cache"
chmod 1777 "$system/tmp"
cp "$heart" "$system/usr/local/bin/heart"
chmod 755 "$system/usr/local/bin/heart"
printf 'root:x:0:0:root:/:/sbin/nologin\nheart:x:10001:10001:heart:/data:/sbin/nologin\n' >"$system/etc/passwd"
printf 'root:x:0:\nheart:x:10001:\n' >"$system/etc/group"
cp -L "$trusted" "$system$trusted"
chmod 644 "$system/etc/passwd" "$system/etc/group" "$system$trusted"
