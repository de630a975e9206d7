/** A client that the front forwarder of a link with several tails has offered to the forwarder of one of them. */
export interface Offer {
  /** Whether further attempts to connect are made before the front hears of a failure: the target may be starting. */
  readonly mayRetry: boolean;
  /**
   * Tells the front that the target has accepted. Returns false if the front does not want it to serve the client any more;
   * then no byte of the client may be read.
   */
  accepted(): boolean;
  /** Tells the front why the target does not serve the client. */
  refused(reason: string): void;
  /** Tells the front that the client has gone. */
  gone(): void;
}
