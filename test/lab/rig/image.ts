import { type Artefact, artefactPath, cached } from './cache.ts';
import { makeTree, type Tree, treeRecipe } from './debian.ts';

/** A container image that the lab makes itself, since there is no registry. */
export interface Image {
  /** As `docker run` takes it. */
  name: string;
  tree: Tree;
  /** Dockerfile instructions, for `docker import --change`. */
  changes: string[];
}

/** MariaDB on 127.0.0.1:3306 of its own namespace; root, and `wordpress` on its database, without a password. */
const mysql: Image = {
  name: 'wormhole/mysql',
  tree: {
    variant: 'minbase',
    packages: ['mariadb-server-core', 'mariadb-client-core'],
    customize: `
      useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin mysql
      install -d -o mysql -g mysql /var/lib/mysql
      mariadb-install-db --user=mysql --force --skip-test-db --innodb-log-file-size=4M \\
        --auth-root-authentication-method=normal
      cat > /etc/mysql/mariadb.conf.d/lab.cnf <<'END'
[client-server]
socket = /var/lib/mysql/mysqld.sock
[mariadbd]
user = mysql
datadir = /var/lib/mysql
bind-address = 127.0.0.1
skip-name-resolve
init-file = /etc/mysql/init.sql
innodb-log-file-size = 4M
innodb-buffer-pool-size = 16M
performance-schema = OFF
END
      cat > /etc/mysql/init.sql <<'END'
CREATE DATABASE IF NOT EXISTS wordpress;
CREATE USER IF NOT EXISTS wordpress@'127.0.0.1';
GRANT ALL ON wordpress.* TO wordpress@'127.0.0.1';
END
    `,
  },
  changes: ['CMD ["mariadbd"]', 'EXPOSE 3306'],
};

/** WordPress on Apache, port 80, which expects its database on 127.0.0.1:3306. */
const wordpress: Image = {
  name: 'wormhole/wordpress',
  tree: {
    variant: 'minbase',
    packages: [
      'wordpress',
      'wordpress-theme-twentytwentythree',
      'apache2',
      'libapache2-mod-php',
      'php-mysql',
    ],
    customize: `
      cat > /etc/wordpress/config-default.php <<'END'
<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'wordpress');
define('DB_PASSWORD', '');
define('DB_HOST', '127.0.0.1:3306');
define('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
END
      cat > /etc/apache2/sites-available/000-default.conf <<'END'
ServerName localhost
ErrorLog /dev/stderr
<VirtualHost *:80>
  DocumentRoot /usr/share/wordpress
  Alias /wp-content /var/lib/wordpress/wp-content
  <Directory /usr/share/wordpress>
    Options FollowSymLinks
    Require all granted
    DirectoryIndex index.php
  </Directory>
  <Directory /var/lib/wordpress/wp-content>
    Options FollowSymLinks
    Require all granted
  </Directory>
</VirtualHost>
END
      sed -i '/^ErrorLog/d' /etc/apache2/apache2.conf
    `,
  },
  // /run is empty in a tree.
  changes: [
    'CMD ["/bin/sh", "-c", "mkdir -p /run/apache2 /run/lock; . /etc/apache2/envvars; exec apache2 -D FOREGROUND"]',
    'EXPOSE 80',
  ],
};

/** A few megabytes with busybox, socat, curl, ip, ss and nc: for clients and small servers. */
const tools: Image = {
  name: 'wormhole/tools',
  tree: {
    variant: 'extract',
    shell: '/bin/busybox sh',
    packages: ['busybox-static', 'dash', 'socat', 'curl', 'iproute2', 'netcat-openbsd'],
    customize: `
      alias busybox=/bin/busybox
      busybox mkdir -p /proc /sys /root /run
      # busybox's own sh would prefer its applets to the real ip and nc.
      busybox ln -sf dash /bin/sh
      busybox ln -s nc.openbsd /bin/nc
      for applet in $(busybox --list); do
        [ -e "/bin/$applet" ] || [ -e "/usr/bin/$applet" ] || [ -e "/sbin/$applet" ] || busybox ln -s busybox "/bin/$applet"
      done
      busybox rm -rf /usr/share /usr/include
      echo root:x:0:0:root:/root:/bin/sh > /etc/passwd
      echo root:x:0: > /etc/group
    `,
  },
  changes: ['CMD ["sleep", "infinity"]'],
};

/** Every image that a host has. */
export const images: Image[] = [mysql, wordpress, tools];

function artefact({ name, tree }: Image): Artefact {
  return {
    name: name.replace('/', '-'),
    recipe: treeRecipe(tree),
    make: (path) => makeTree(tree, path, 'tar'),
  };
}

/** Returns the path of the image's file system as a tar, made first when the cache lacks it. */
export function imageTar(image: Image): Promise<string> {
  return cached(artefact(image));
}

/** All that decides what is in the images, as text, for the cache key of what is made of them. */
export const imagesRecipe = JSON.stringify(
  images.map((image) => [artefactPath(artefact(image)), image.changes]),
);
